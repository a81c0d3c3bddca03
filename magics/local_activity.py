"""Whether the notebook runs cells of its own for so long that the broker should know: Run All with a slow local cell.

Starting a timer for every cell would cost each of them a thread. Here the cell only sets a flag; while cells run, a
task on the client's loop looks at it once a second, and tells what lasts that long. In an idle notebook nothing wakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..client.loop_thread import LoopThread

LOOK_EVERY_S = 1.0


class LocalActivity:
    """``report`` is called on the client's loop, with whether the notebook is busy, when that has changed."""

    def __init__(self, report: Callable[[bool], None]) -> None:
        self._report = report
        self._running = False
        self._watched_by: LoopThread | None = None

    def cell_starts(self, loop: LoopThread) -> None:
        """On the notebook's main thread."""
        self._running = True
        if self._watched_by is not loop:
            self._watched_by = loop
            loop.call(self._watch, loop)

    def cell_ends(self) -> None:
        """On the notebook's main thread. What was reported is taken back within a second, if no cell follows."""
        self._running = False

    def _watch(self, loop: LoopThread) -> None:
        loop.keep(self._look(loop))

    async def _look(self, loop: LoopThread) -> None:
        reported = False
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._running is not reported:
                reported = not reported
                self._report(reported)
            elif not reported:
                # In this order: a cell that starts now either sees that nobody watches, or is seen here.
                self._watched_by = None
                if not self._running:
                    return
                self._watched_by = loop
