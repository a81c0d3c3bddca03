"""A client link without a socket: what the relay and the core say to a kernel's client, for the front that lives here.

Nothing is handled at the moment it is said: the broker is in the middle of something then.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ...wire import link as messages
from ...wire.lanes import Lane
from ..links.link import CLOSE_NORMAL

_numbers = itertools.count(1)


class InnerLink:
    """Stands where a :class:`~..links.link.Link` of kind ``client`` stands otherwise."""

    def __init__(
        self,
        owner: str,
        on_text: Callable[[messages.ToClient], None],
        on_envelope: Callable[[bytes], None],
        on_closed: Callable[[int, str], None],
        deliver: Callable[[bytes], Coroutine[Any, Any, None]],
    ) -> None:
        self.id = f"hosted-{next(_numbers)}"
        self.owner = owner
        self.blocked_since: float | None = None
        self._on_text = on_text
        self._on_envelope = on_envelope
        self._on_closed = on_closed
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._lanes: tuple[deque[bytes], ...] = tuple(deque() for _ in Lane)
        self._filled = asyncio.Event()

    # from the broker ----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._loop.call_soon(self._heard, text)

    def _heard(self, text: str) -> None:
        if not self._closed:
            self._on_text(messages.to_client.validate_json(text))

    async def send_binary(self, data: bytes) -> None:
        """An envelope of the process; how much of them is under way, its window says."""
        if not self._closed:
            self._on_envelope(data)

    def close_soon(self, reason: str, code: int = CLOSE_NORMAL) -> None:
        self._loop.call_soon(self._ended, code, reason)

    def abort(self) -> None:
        self.close_soon("")

    def _ended(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._on_closed(code, reason)

    # to the process -----------------------------------------------------------------------------------------------

    def put(self, lane: Lane, data: bytes) -> None:
        self._lanes[lane].append(data)
        self._filled.set()

    async def pump(self) -> None:
        """Hand envelopes to the relay, the most urgent first, until cancelled."""
        while True:
            await self._filled.wait()
            for lane in self._lanes:
                if lane:
                    await self._deliver(lane.popleft())
                    break
            else:
                self._filled.clear()

    def close(self) -> None:
        """From our side: nothing is heard of it any more."""
        self._closed = True
