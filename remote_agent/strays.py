"""Finding and ending every process of a kernel, whatever its parents and sessions are.

A process that a cell starts may daemonise: a new session, a new parent. It still inherits the environment, so each
kernel process carries a mark there: ``<agent id>.<run of the agent>:<incarnation>``. Used by the agent, by its guard
after the agent's death, and at an agent's start for what an earlier run may have left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .runtime.environment import MARK

_PROC = Path("/proc")
_ROUNDS = 200


def marked_processes(mark: str) -> list[int]:
    """The pids whose mark begins with ``mark``, but for this process's own."""
    wanted = f"{MARK}={mark}".encode()
    return [
        pid for pid, environment in _environments() if environment.startswith(wanted) or b"\0" + wanted in environment
    ]


def end_marked(mark: str) -> None:
    """Kill all processes so marked, and those that they started meanwhile, and wait until they are gone."""
    for _ in range(_ROUNDS):
        pids = marked_processes(mark)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def remove_directories(directories: Iterable[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _environments() -> Iterator[tuple[int, bytes]]:
    if sys.platform == "linux":
        own = os.getpid()
        for entry in os.listdir(_PROC):
            if entry.isdecimal() and int(entry) != own:
                with contextlib.suppress(OSError):  # gone meanwhile, or another user's
                    yield int(entry), (_PROC / entry / "environ").read_bytes()
        return
    import psutil  # only where there is no /proc

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid():
                yield process.pid, "\0".join(f"{k}={v}" for k, v in process.environ().items()).encode()
