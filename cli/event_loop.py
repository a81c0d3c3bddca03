"""How our servers' processes run: on uvloop where it is installed, which halves what a relayed message costs, without
long pauses, and with room for many links."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
OPEN_FILES = 65_536


def run_server(server: Coroutine[Any, Any, T]) -> T:
    """Run a server to its end, in a process that has loaded all that it needs and does nothing else."""
    gc.freeze()  # what was imported stays: looking through it again and again would hold all links up each time
    _make_room_for_links()
    try:
        import uvloop  # not on Windows, and only installed with the broker
    except ImportError:
        return asyncio.run(server)
    return uvloop.run(server)


def _make_room_for_links() -> None:
    """Each link takes a file descriptor, and shells and service managers often start with a limit of 1,024."""
    try:
        import resource  # not on Windows, which has no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # not all systems take "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))
