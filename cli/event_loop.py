"""The event loop of our servers: uvloop where it is installed, which halves what a relayed message costs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_server(server: Coroutine[Any, Any, T]) -> T:
    """Run a server to its end."""
    try:
        import uvloop  # not on Windows, and only installed with the broker
    except ImportError:
        return asyncio.run(server)
    return uvloop.run(server)
