"""Messages to agents that must not be sent before what they stand for is on disk, and those behind them.

An attach does not wait for the ledger, as a commit may take longer than the attach (docs/billing.md, "The ledger"). But
a lease that draws on a budget that others draw on, too, must be known to whoever starts the broker again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from ..wire.control import FromBroker
from .ledger.ledger import Ledger

log = structlog.get_logger(__name__)


class AfterCommit:
    def __init__(self, ledger: Ledger, say: Callable[[str, FromBroker], None], cut: Callable[[str, str], None]) -> None:
        self._ledger = ledger
        self._say = say
        self._cut = cut
        self._waiting: dict[str, deque[FromBroker]] = {}  # by link, in order
        self._tasks: set[asyncio.Task[None]] = set()

    def holds(self, link_id: str) -> bool:
        """Whether something waits for this link, so that what is said now must wait behind it."""
        return link_id in self._waiting

    def put(self, link_id: str, message: FromBroker) -> None:
        """Say it when all that was handed to the ledger so far is on disk."""
        if link_id in self._waiting:
            self._waiting[link_id].append(message)
            return
        self._waiting[link_id] = deque([message])
        task = asyncio.get_running_loop().create_task(self._say_all(link_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Nothing more is said."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _say_all(self, link_id: str) -> None:
        waiting = self._waiting[link_id]
        try:
            while waiting:
                covered = len(waiting)  # what comes while the ledger writes has something younger to wait for
                await self._ledger.durable()
                for _ in range(covered):
                    self._say(link_id, waiting.popleft())
        except Exception as error:  # noqa: BLE001 - whatever the database fails with
            log.error("agent.not_told", link=link_id, error=type(error).__name__)
            self._cut(link_id, "the ledger could not be written")
        finally:
            del self._waiting[link_id]
