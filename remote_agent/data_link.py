"""The data link: one WebSocket per kernel process, opened ahead of any bind and re-opened for as long as it lives.

Answers and the kernel's messages go first, chunks of blobs when nothing else waits, so that bulk data is never in
front of output or of the answer to an interrupt.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable

import structlog
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from ..wire.envelope import Envelope, Kind, pack, unpack
from ..wire.errors import PerijoveError
from ..wire.link_connection import LinkConnection
from .dialing import Dial
from .streams import Arrival, KernelStreams

ACK_AFTER_S = 0.05
_FIRST_RETRY_S = 0.05
_LONGEST_RETRY_S = 5.0
_BLOB_KINDS = frozenset({Kind.BLOB_PUT, Kind.BLOB_GET, Kind.BLOB_DROP})

log = structlog.get_logger("perijove.agent")


class DataLink:
    """``deliver`` takes Jupyter frames for the kernel; ``blob_request`` answers blob envelopes by ``send_later``."""

    def __init__(
        self,
        dial: Dial[LinkConnection],
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
        self._connection: LinkConnection | None = None
        self._sending = False
        self._ack_timer: asyncio.TimerHandle | None = None
        self.opened = asyncio.Event()

    def wake(self) -> None:
        """There is something new to send: it is sent now, unless the broker is behind."""
        self._all_sent.clear()
        if self._sending:
            return  # by something that sending has made room for
        self._sending = True
        try:
            while self._connection is not None and self._connection.takes_more:
                message = self._next()
                if message is None:
                    self._something_to_send.clear()
                    self._all_sent.set()
                    return
                self._connection.send_at_once(message)
        finally:
            self._sending = False
        self._something_to_send.set()

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
                if self.opened.is_set() and self._something_to_send.is_set():
                    await self._all_sent.wait()

    async def _serve(self, connection: LinkConnection) -> None:
        self._streams.reopened()
        self._bulk.clear()
        self.opened.set()
        leave = asyncio.Event()

        def heard(message: str | bytes | bytearray) -> None:
            if not isinstance(message, str):
                self._receive(unpack(message))
            if self._streams.turned_away:
                # A cell crossed the release. A new link has the client resume, and so keep it for later.
                self._streams.turned_away = False
                leave.set()

        self._connection = connection
        connection.hear(heard)
        self.wake()
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(connection))
                closed = tasks.create_task(connection.until_closed())
                left = tasks.create_task(leave.wait())
                await asyncio.wait((closed, left), return_when=asyncio.FIRST_COMPLETED)
                for task in (writer, closed, left):
                    task.cancel()
        except* (WebSocketException, PerijoveError) as errors:
            log.debug("data link", incarnation=self._incarnation.hex(), error=str(errors.exceptions[0]))
        finally:
            self._connection = None
            if self._ack_timer is not None:
                self._ack_timer.cancel()
                self._ack_timer = None

    def _receive(self, envelope: Envelope) -> None:
        if envelope.incarnation != self._incarnation:
            return
        if envelope.kind in _BLOB_KINDS:
            self._blob_request(envelope)
            return
        arrival = self._streams.receive(envelope)
        if arrival is not None:
            self._deliver(arrival)
        if envelope.kind is Kind.DATA and self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due)
        self.wake()

    def _ack_due(self) -> None:
        self._ack_timer = None
        self._streams.acknowledge_all()
        self.wake()

    async def _write(self, connection: LinkConnection) -> None:
        """What could not be sent at once."""
        while True:
            await self._something_to_send.wait()
            while (message := self._next()) is not None:
                await connection.send(message)
            self._something_to_send.clear()
            self._all_sent.set()

    def _next(self) -> bytes | None:
        was_full = self._streams.spool.full
        message = self._streams.next_message()
        if was_full and not self._streams.spool.full:
            self._room_made()  # what is sent makes room, not what is acknowledged
        if message is None and self._bulk:
            return self._bulk.popleft()()
        return message


def blob_answer(kind: Kind, stream: bytes, incarnation: bytes, payload: bytes) -> bytes:
    return pack(Envelope(kind, stream, incarnation, payload=payload))
