"""Waiting for the broker in this very process to listen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path


async def url_when_ready(ready_file: Path) -> str:
    """The address that this process's broker writes once it listens."""
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            document = json.loads(ready_file.read_text("utf-8"))
            if document["pid"] == os.getpid():
                return str(document["url"])
        await asyncio.sleep(0.01)
