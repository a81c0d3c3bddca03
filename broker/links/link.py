"""One open WebSocket: text goes through a small outbox, so that nobody waits to say something; binary waits.

That difference is the broker's back-pressure: an envelope that cannot be sent on stops the reading of the link it came
from, all the way back to the code that prints. The broker itself never holds more than one envelope per direction.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_TEXTS = 1000  # a peer that lets so many pile up does not listen any more
CLOSE_RESUME = 4001  # connect again and resume: something on the way was lost
CLOSE_NORMAL = 1000
REASON_BYTES = 120  # a close frame's reason holds 123

_numbers = itertools.count(1)


class Connection(Protocol):
    """What a link needs of its connection beyond ASGI."""

    async def send_binary(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


class Peer(Protocol):
    """Who is at the other end of a link: behind a socket, or here."""

    id: str
    owner: str
    blocked_since: float | None

    def say(self, text: str) -> None: ...
    async def send_binary(self, data: bytes) -> None: ...
    def close_soon(self, reason: str, code: int = CLOSE_NORMAL) -> None: ...
    def abort(self) -> None: ...


class LinkClosed(Exception):
    """The peer is gone."""


class Link:
    """Made when the handshake is accepted; :meth:`pump` runs beside whoever reads."""

    def __init__(self, kind: str, owner: str, receive: Receive, send: Send, connection: Connection) -> None:
        self.id = f"{kind}-{next(_numbers)}"
        self.owner = owner
        self.blocked_since: float | None = None
        self._receive = receive
        self._send = send
        self._connection = connection
        self._texts: deque[str] = deque()
        self._wake = asyncio.Event()
        self._close: tuple[int, str] | None = None

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            LinkClosed: when there is none any more.
        """
        message = await self._receive()
        if message["type"] == "websocket.receive":
            data: bytes | None = message.get("bytes")
            return data if data is not None else message["text"]
        raise LinkClosed

    def say(self, text: str) -> None:
        """Send a text soon, in order; never waits."""
        if self._close is not None:
            return
        if len(self._texts) >= MOST_TEXTS:
            log.warning("link.stalled", link=self.id)
            self.abort()
            return
        self._texts.append(text)
        self._wake.set()

    async def send_binary(self, data: bytes) -> None:
        """Send an envelope; waits while the peer does not read.

        Raises:
            LinkClosed: when the peer is gone.
        """
        self.blocked_since = time.monotonic()
        try:
            await self._connection.send_binary(data)
        except OSError as error:
            raise LinkClosed from error
        finally:
            self.blocked_since = None

    def close_soon(self, reason: str, code: int = CLOSE_NORMAL) -> None:
        """Close after what was said before."""
        if self._close is None:
            self._close = (code, reason)
            self._wake.set()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._close = self._close or (CLOSE_NORMAL, "")
        self._connection.abort()

    async def pump(self) -> None:
        """Send what was said, until the link is closed from either side."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._texts:
                    await self._send({"type": "websocket.send", "text": self._texts.popleft()})
                if self._close is not None:
                    code, reason = self._close
                    shown = reason.encode()[:REASON_BYTES].decode("utf-8", "ignore")
                    await self._send({"type": "websocket.close", "code": code, "reason": shown})
                    return
        except (OSError, RuntimeError):
            return  # the peer is gone; whoever reads notices, too
