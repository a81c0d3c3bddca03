"""One WebSocket of a Jupyter front-end: what it says, and what it has yet to take."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from ...wire.jupyter_frames import JupyterFrame, decode_frame, encode_frame
from ..links.link import CLOSE_NORMAL, LinkClosed, Message, Receive
from ..websocket import LinkProtocol
from .legacy_frames import from_legacy, to_legacy

log = structlog.get_logger(__name__)

_numbers = itertools.count(1)


class FrontEnd:
    """``progress`` is called when the peer has taken something; ``sent`` counts messages, ``queued`` those to come."""

    def __init__(
        self,
        session_id: str,
        connection: LinkProtocol,
        receive: Receive,
        progress: Callable[[], None],
        *,
        speaks_v1: bool,
    ) -> None:
        self.id = f"front-end-{next(_numbers)}"
        self.session_id = session_id
        self.blocked_since: float | None = None
        self.queued = 0
        self.sent = 0
        self._connection = connection
        self._receive = receive
        self._progress = progress
        self.speaks_v1 = speaks_v1
        self._urgent: deque[str | bytes] = deque()  # replies and questions: nothing of these waits behind output
        self._output: deque[str | bytes] = deque()
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None

    async def receive(self) -> JupyterFrame:
        """The next message.

        Raises:
            LinkClosed: when there is none any more.
            MalformedFrame: when it is no Jupyter message.
        """
        message: Message = await self._receive()
        if message["type"] != "websocket.receive":
            raise LinkClosed
        data: bytes | None = message.get("bytes")
        if not self.speaks_v1:
            return from_legacy(message["text"] if data is None else data)
        return decode_frame(data if data is not None else message["text"].encode())

    def send(self, frame: JupyterFrame) -> None:
        """Send soon, output in order."""
        message = encode_frame(frame.channel, frame.parts) if self.speaks_v1 else to_legacy(frame)
        if frame.channel == "iopub":
            self.queued += 1
            self._output.append(message)
        elif frame.channel == "shell" and self._output:
            self._output.append(message)  # a reply says that its output is complete
            self.queued += 1
        else:
            self._urgent.append(message)
        if not self._wake.is_set() and not self._send_now():
            self._wake.set()

    def _send_now(self) -> bool:
        """What the connection takes without waiting. False: something is left."""
        try:
            while self._urgent or self._output:
                lane = self._urgent or self._output
                if not self._connection.send_at_once(lane[0]):
                    return False
                self._done_with(lane)
        except OSError:
            return True  # whoever reads notices, too
        return True

    @property
    def untaken(self) -> list[str | bytes]:
        """What the connection has not been given, for the one that follows it."""
        return [*self._urgent, *self._output]

    def send_again(self, messages: Iterable[str | bytes]) -> None:
        """What an earlier connection of the same front-end was not given."""
        for message in messages:
            self.queued += 1
            self._output.append(message)
        if not self._send_now():
            self._wake.set()

    def _done_with(self, lane: deque[str | bytes]) -> None:
        lane.popleft()
        if lane is self._output:
            self.sent += 1

    @property
    def waits(self) -> bool:
        return self.sent < self.queued

    def close_soon(self, reason: str, code: int = CLOSE_NORMAL) -> None:
        self._closing = (code, reason)
        self._wake.set()

    def abort(self) -> None:
        self._connection.abort()

    async def pump(self, send: Callable[[Message], object]) -> None:
        """Send what could not be sent at once, until the connection is closed from either side."""
        try:
            while True:
                await self._wake.wait()
                while (lane := self._urgent or self._output) and self._closing is None:
                    self.blocked_since = time.monotonic()
                    await self._connection.send_message(lane[0])
                    self.blocked_since = None
                    self._done_with(lane)
                    self._progress()
                self._wake.clear()
                if self._closing is not None:
                    code, reason = self._closing
                    await send({"type": "websocket.close", "code": code, "reason": reason[:100]})  # type: ignore[misc]
                    return
        except (OSError, RuntimeError):
            return
        finally:
            self.blocked_since = None
