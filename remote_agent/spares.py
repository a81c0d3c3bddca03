"""Spares: started kernel processes that wait for a kernel, so that an attach costs milliseconds instead of a start.

They are refilled one at a time, at a low priority, and a moment after one was taken, so that the cell which has just
been attached is not the one that pays for it. A spare has answered and its data link is open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from .errors import KernelStartFailed
from .process import KernelProcess, Workshop, start_process

_REFILL_AFTER_S = 0.25
_LINK_TIMEOUT_S = 5.0
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
log = structlog.get_logger("perijove.agent")


class Spares:
    """``started`` is told of each new process at once, to look after it; run :meth:`run` as a task."""

    def __init__(
        self,
        workshop: Workshop,
        wanted: int,
        started: Callable[[KernelProcess], None],
        changed: Callable[[], None],
    ) -> None:
        self._workshop = workshop
        self._wanted = wanted
        self._started = started
        self._changed = changed
        self._ready: deque[KernelProcess] = deque()
        self._waiters: deque[asyncio.Future[KernelProcess]] = deque()
        self._short = asyncio.Event()
        self._short.set()

    @property
    def count(self) -> int:
        return len(self._ready)

    async def take(self) -> KernelProcess:
        """A ready process, at once if there is a spare.

        Raises:
            KernelStartFailed: when none could be started.
        """
        while self._ready:
            process = self._ready.popleft()
            self._short.set()
            if process.alive:
                process.wake_up()
                return process
        waiter: asyncio.Future[KernelProcess] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._short.set()
        process = await waiter
        process.wake_up()
        return process

    def discard(self, process: KernelProcess) -> None:
        """It has ended."""
        if process in self._ready:
            self._ready.remove(process)
            self._short.set()
            self._changed()

    async def run(self) -> None:
        retry_s = _FIRST_RETRY_S
        while True:
            self._short.clear()
            while self._waiters or len(self._ready) < self._wanted:
                try:
                    await self._add_one()
                    retry_s = _FIRST_RETRY_S
                except KernelStartFailed as error:
                    log.error("spare did not start", error=str(error))
                    self._fail_waiters(error)
                    await asyncio.sleep(retry_s)
                    retry_s = min(2 * retry_s, _LONGEST_RETRY_S)
            await self._short.wait()
            if not self._waiters and self._ready:
                await asyncio.sleep(_REFILL_AFTER_S)
            self._changed()  # one was taken: the broker's count goes down before it goes up again

    async def _add_one(self) -> None:
        process = start_process(self._workshop)
        self._started(process)
        try:
            await process.become_ready()
            async with asyncio.timeout(_LINK_TIMEOUT_S):
                await process.link.opened.wait()
        except KernelStartFailed:
            await process.end()
            raise
        except TimeoutError:
            pass  # the broker is away at the moment; the kernel is ready all the same
        except BaseException:
            await process.end()
            raise
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(process)
                return
        self._ready.append(process)
        self._changed()

    def _fail_waiters(self, error: KernelStartFailed) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
