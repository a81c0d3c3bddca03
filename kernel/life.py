"""When a kernel ends: a front-end says so, a signal does, or whoever started it is gone.

VS Code stops kernels by SIGTERM and tells them nothing; a front-end that was killed says nothing at all. Each of these
must free the GPU at once, so each is a proper end. SIGINT is not one: front-ends interrupt by message, and a Ctrl-C in
the terminal of a Jupyter server reaches its kernels as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

LOOK_FOR_PARENT_EVERY_S = 1.0


class Life:
    """``ended`` is done once the kernel is to end; its result says whether it is to be started again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ended: asyncio.Future[bool] = loop.create_future()

    def end(self, *, restart: bool = False, why: str) -> None:
        if not self.ended.done():
            log.info("the kernel ends: %s", why)
            self.ended.set_result(restart)

    def watch_signals(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup's wish stays
                self._loop.add_signal_handler(signum, self._signalled, signum)

    def _signalled(self, signum: signal.Signals) -> None:
        self.end(why=signum.name)

    def watch_parent(self, is_gone: Callable[[], bool]) -> None:
        """Nobody tells when a parent ends: look now and then."""
        if is_gone():
            self.end(why="the program that started it is gone")
        else:
            self._loop.call_later(LOOK_FOR_PARENT_EVERY_S, self.watch_parent, is_gone)


class Parent:
    """Whoever started this kernel. Made early: a parent that ends later is missed."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._pid = os.getppid()
        named = environ.get("JPY_PARENT_PID", "")
        self._named_pid = int(named) if named.isdecimal() and _exists(int(named)) else None
        # One that was put into a session of its own, or told to ignore a hang-up, is meant to outlive its starter,
        # unless that is a Jupyter server, which says so.
        detached = os.getsid(0) == os.getpid() or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._counts = bool(named) or not detached

    def is_gone(self) -> bool:
        """With a wrapper in between (``conda run``, ``uv run``), whichever of the two is gone first."""
        if not self._counts:
            return False
        return os.getppid() != self._pid or (self._named_pid is not None and not _exists(self._named_pid))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
