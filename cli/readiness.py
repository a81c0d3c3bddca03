"""Waiting for the broker in this very process to listen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path


async def url_when_ready(ready_file: Path) -> str:
    """The address that this process's broker writes once it listens."""
    while (url := _own_url(ready_file)) is None:  # noqa: ASYNC110 - it is a file that another module writes
        await asyncio.sleep(0.01)
    return url


def _own_url(ready_file: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        document = json.loads(ready_file.read_text("utf-8"))
        if document["pid"] == os.getpid():
            return str(document["url"])
    return None
