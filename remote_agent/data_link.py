"""The data link: one WebSocket per kernel process, opened ahead of any bind and re-opened for as long as it lives.

Answers and the kernel's messages go first, chunks of blobs when nothing else waits, so that bulk data is never in
front of output or of the answer to an interrupt. Small messages go together, where that makes nobody wait: each write
wakes the broker, the client and the front-end in turn, which costs them more than reading what it brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from ..wire.envelope import Envelope, Kind, pack, unpack
from ..wire.errors import PerijoveError
from .dialing import Dial
from .streams import Arrival, KernelStreams

ACK_AFTER_S = 0.05
TOGETHER_BYTES = 64 << 10
HELD_S = 0.001
_FIRST_RETRY_S = 0.05
_LONGEST_RETRY_S = 5.0
_BLOB_KINDS = frozenset({Kind.BLOB_PUT, Kind.BLOB_GET, Kind.BLOB_DROP})

log = structlog.get_logger("perijove.agent")


class DataLink:
    """``deliver`` takes Jupyter frames for the kernel; ``blob_request`` answers blob envelopes by ``send_later``."""

    def __init__(
        self,
        dial: Dial,
        incarnation: bytes,
        streams: KernelStreams,
        deliver: Callable[[Arrival], None],
        blob_request: Callable[[Envelope], None],
        room_made: Callable[[], None],
    ) -> None:
        self._dial = dial
        self._incarnation = incarnation
        self._streams = streams
        self._deliver = deliver
        self._blob_request = blob_request
        self._room_made = room_made
        self._something_to_send = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._bulk: deque[Callable[[], bytes]] = deque()
        self._ack_timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self.opened = asyncio.Event()

    def wake(self) -> None:
        """There is something new to send."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._something_to_send.set()
        self._all_sent.clear()

    def wake_soon(self) -> None:
        """There is something new to send, and more is about to come that it can go with."""
        if self._soon is None and not self._something_to_send.is_set():
            self._soon = asyncio.get_running_loop().call_later(HELD_S, self.wake)

    def send_later(self, make: Callable[[], bytes]) -> None:
        """Send what ``make`` returns when nothing more urgent waits. It is called just before, to bound memory."""
        self._bulk.append(make)
        self.wake()

    async def run(self) -> None:
        """Keep the link open until cancelled."""
        retry_s = _FIRST_RETRY_S
        path = f"api/agents/processes/{self._incarnation.hex()}/link"
        while True:
            try:
                async with self._dial(path) as connection:
                    retry_s = _FIRST_RETRY_S
                    await self._serve(connection)
            except (OSError, TimeoutError, InvalidHandshake, InvalidURI, WebSocketException, PerijoveError) as error:
                log.debug("data link", incarnation=self._incarnation.hex(), error=str(error))
            finally:
                self.opened.clear()
                self._bulk.clear()
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            retry_s = min(2 * retry_s, _LONGEST_RETRY_S)

    async def flushed(self, timeout_s: float) -> None:
        """Give what the kernel left behind a moment to be sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if self.opened.is_set() and (self._soon is not None or self._something_to_send.is_set()):
                    self.wake()
                    await self._all_sent.wait()

    async def _serve(self, connection: ClientConnection) -> None:
        self._streams.reopened()
        self._bulk.clear()
        self.opened.set()
        self.wake()
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(connection))
                async for message in connection:
                    if isinstance(message, bytes):
                        self._receive(unpack(message))
                    if self._streams.turned_away:
                        # A cell crossed the release. A new link has the client resume, and so keep it for later.
                        self._streams.turned_away = False
                        break
                writer.cancel()
        except* WebSocketException:
            pass
        finally:
            if self._ack_timer is not None:
                self._ack_timer.cancel()
                self._ack_timer = None

    def _receive(self, envelope: Envelope) -> None:
        if envelope.incarnation != self._incarnation:
            return
        if envelope.kind in _BLOB_KINDS:
            self._blob_request(envelope)
            return
        was_full = self._streams.spool.full
        arrival = self._streams.receive(envelope)
        if arrival is not None:
            self._deliver(arrival)
        if was_full:
            self._room_made()
        if envelope.kind is Kind.DATA and self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due)
        self.wake()

    def _ack_due(self) -> None:
        self._ack_timer = None
        self._streams.acknowledge_all()
        self.wake()

    async def _write(self, connection: ClientConnection) -> None:
        while True:
            while messages := self._next_together():
                await _send_together(connection, messages)
            self._something_to_send.clear()
            self._all_sent.set()
            await self._something_to_send.wait()

    def _next_together(self) -> list[bytes]:
        """What goes into one write; nothing that is large waits for it."""
        messages: list[bytes] = []
        size = 0
        while size < TOGETHER_BYTES and (message := self._next()) is not None:
            messages.append(message)
            size += len(message)
        return messages

    def _next(self) -> bytes | None:
        message = self._streams.next_message()
        if message is None and self._bulk:
            return self._bulk.popleft()()
        return message


async def _send_together(connection: ClientConnection, messages: list[bytes]) -> None:
    """``connection.send`` for each, but with one write; waits while the broker does not read."""
    async with connection.send_context():
        for message in messages:
            connection.protocol.send_binary(message)
        connection.transport.write(b"".join(connection.protocol.data_to_send()))


def blob_answer(kind: Kind, stream: bytes, incarnation: bytes, payload: bytes) -> bytes:
    return pack(Envelope(kind, stream, incarnation, payload=payload))
