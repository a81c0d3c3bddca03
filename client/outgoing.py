"""What waits to be written to a connection: control first, then shell, then bulk; no interrupt waits behind data."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ..wire.lanes import Lane

BULK_QUEUE = 4  # messages of a megabyte: enough to keep the socket busy


class Outgoing:
    """Queues by lane and the one pump that empties them."""

    def __init__(self) -> None:
        self._lanes: tuple[deque[bytes | str], ...] = tuple(deque() for _ in Lane)
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waits(self) -> bool:
        """Whether something does."""
        return any(self._lanes)

    def put(self, lane: Lane, message: bytes | str) -> None:
        self._lanes[lane].append(message)
        self._empty.clear()
        self._filled.set()
        if lane is Lane.BULK and len(self._lanes[Lane.BULK]) >= BULK_QUEUE:
            self._room.clear()

    async def room(self, lane: Lane) -> None:
        """Wait until the lane takes more. Only bulk is ever full: the others are bounded by what people do."""
        if lane is Lane.BULK:
            await self._room.wait()

    async def drained(self) -> None:
        await self._empty.wait()

    def reset(self) -> None:
        """Forget what waits: its sender keeps it and sends it again on the next connection."""
        for lane in self._lanes:
            lane.clear()
        self._filled.clear()
        self._room.set()
        self._empty.set()

    def close(self) -> None:
        self.reset()

    async def pump(self, send: Callable[[bytes | str], Awaitable[None]]) -> None:
        """Write until cancelled, always from the most urgent lane that holds something."""
        while True:
            await self._filled.wait()
            for lane in self._lanes:
                if lane:
                    message = lane.popleft()
                    break
            else:
                self._filled.clear()
                self._empty.set()
                continue
            if len(self._lanes[Lane.BULK]) < BULK_QUEUE:
                self._room.set()
            await send(message)
