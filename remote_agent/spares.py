"""Spares: started kernel processes that wait for a kernel, so that an attach costs milliseconds instead of a start.

They are refilled one at a time, at a low priority, and a moment after one was taken, so that the cell which has just
been attached is not the one that pays for it. A spare has answered and its data link is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import structlog

from .errors import KernelStartFailed
from .gpu_use import uses_gpu
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
        self._urgent = asyncio.Event()  # somebody waits already

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
        self._urgent.set()
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
            if not self._waiters:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REFILL_AFTER_S):
                        await self._urgent.wait()
            self._urgent.clear()
            self._changed()  # one was taken: the broker's count goes down before it goes up again

    async def _add_one(self) -> None:
        process = start_process(self._workshop, low_priority=not self._waiters)
        self._started(process)
        try:
            await process.become_ready()
            await self._see_no_gpu(process)
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

    async def _see_no_gpu(self, process: KernelProcess) -> None:
        """Once a process has initialised the driver it cannot be given other devices: such a spare is of no use."""
        if await asyncio.to_thread(uses_gpu, process.mark):
            raise KernelStartFailed("a fresh kernel process has opened a GPU; look for start-up files that import CUDA")

    def _fail_waiters(self, error: KernelStartFailed) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
