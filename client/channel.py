"""The resumable link to one kernel: it outlives every connection it runs on.

Runs on the client's own loop. What is sent is numbered and kept until the agent has it; what arrives is handed on once,
in order, and acknowledged only when the notebook has taken it, so that a slow notebook slows the code that prints
instead of filling memory. See docs/protocol.md §2 and §3.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ..wire import envelope, link
from ..wire.envelope import Envelope, Kind
from ..wire.errors import (
    ConnectionLost,
    IncompatibleVersion,
    KernelNotFound,
    NotAuthorized,
    PerijoveError,
    from_code,
)
from ..wire.ids import new_id, new_stream
from ..wire.jupyter_frames import JupyterFrame, decode_frame
from ..wire.models import KernelState, KernelView
from ..wire.replay import GapInStream, Inbox, Outbox
from ..wire.versions import PROTOCOL, check_compatible
from .address import BrokerAddress
from .blob_transfer import BlobTransfers
from .outgoing import Lane, Outgoing

log = logging.getLogger(__name__)

ACK_AFTER_S = 0.05
ACK_AFTER_BYTES = 256 * 1024
OPEN_TIMEOUT_S = 10.0
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 5.0


class Listener(Protocol):
    """Who hears what happens on a channel. Called on the client's loop: enqueue, never block."""

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None: ...
    def state_changed(self, view: KernelView) -> None: ...
    def incarnation_changed(self, view: KernelView) -> None: ...
    def undeliverable(self) -> None: ...
    def messages_lost(self, count: int) -> None: ...
    def connection_changed(self, connected: bool) -> None: ...
    def failed(self, error: PerijoveError) -> None: ...


@dataclass(slots=True)
class _Streams:
    """The numbered sequences of one incarnation: two of ours, one of the kernel's."""

    shell: bytes = field(default_factory=new_stream)
    control: bytes = field(default_factory=new_stream)
    shell_out: Outbox = field(default_factory=Outbox)
    control_out: Outbox = field(default_factory=Outbox)
    inbox: Inbox = field(default_factory=Inbox)
    whole_seq: int = 0  # where the last whole frame ended
    taken_seq: int = 0  # by the notebook
    acked_seq: int = 0

    @property
    def ack(self) -> int:
        """What the notebook has taken; and once it has taken all whole frames, the pieces of the one that is arriving,
        which may be larger than what the agent sends without being acknowledged."""
        return self.inbox.last_seq if self.taken_seq >= self.whole_seq else self.taken_seq


class KernelChannel:
    """One kernel's channel. Make it, run :meth:`run` as a task, and use it from the same loop only."""

    def __init__(
        self, find_broker: Callable[[], Awaitable[BrokerAddress]], kernel_id: str, listener: Listener, version: str
    ) -> None:
        self._find_broker = find_broker
        self._kernel_id = kernel_id
        self._listener = listener
        self._version = version
        self._outgoing = Outgoing()
        self._incarnation: bytes | None = None
        self._streams = _Streams()
        self._resumed = False
        self._requests: dict[str, tuple[link.FromClient, asyncio.Future[link.Reply]]] = {}
        self._ack_timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._connected = asyncio.Event()
        self.view: KernelView | None = None
        self.viewed_at = 0.0  # when the view came, monotonic seconds
        self.blobs = BlobTransfers(self._send_blob_envelope)

    @property
    def is_attached(self) -> bool:
        """Whether the kernel has its GPU and can be spoken to, as far as is known here. Any thread."""
        return self.view is not None and self.view.state is KernelState.ATTACHED and self._connected.is_set()

    # requests -------------------------------------------------------------------------------------------------

    async def attach(self) -> KernelView:
        """Have a GPU; returns at once when the kernel holds one. Cancelling this call leaves the queue.

        Raises:
            AttachError: why there is none.
        """
        if self.is_attached:
            assert self.view is not None
            return self.view
        request = link.AttachRequest(request_id=new_id("request"))
        try:
            await self._request(request)
        except asyncio.CancelledError:
            self._send_text(link.CancelRequest(request_id=request.request_id))
            raise
        assert self.view is not None  # the state came before the reply
        return self.view

    async def release(self, *, end: bool = False) -> None:
        await self._request(link.ReleaseRequest(request_id=new_id("request"), end=end))

    async def restart(self) -> None:
        await self._request(link.RestartRequest(request_id=new_id("request")))

    async def set_budget(self, nanodollars: int | None) -> None:
        """What this kernel may cost altogether; None: no limit."""
        await self._request(link.BudgetRequest(request_id=new_id("request"), nanodollars=nanodollars))

    def report_local_activity(self, busy: bool) -> None:
        self._send_text(link.LocalActivity(busy=busy))

    async def goodbye(self) -> None:
        """Tell the broker that this kernel is no longer needed, and close."""
        self._closing = True
        if self._connected.is_set():
            self._send_text(link.Goodbye())
            await self._outgoing.drained()
        self._outgoing.close()

    async def _request(
        self, message: link.AttachRequest | link.ReleaseRequest | link.RestartRequest | link.BudgetRequest
    ) -> None:
        reply: asyncio.Future[link.Reply] = asyncio.get_running_loop().create_future()
        self._requests[message.request_id] = (message, reply)
        self._send_text(message)
        try:
            answer = await reply
        finally:
            del self._requests[message.request_id]
        if answer.code:
            raise from_code(answer.code, answer.message)

    # frames ---------------------------------------------------------------------------------------------------

    def send(self, frame: bytes, *, control: bool = False) -> int:
        """Send a Jupyter frame to the kernel, now and again after a reconnection until it is there. Returns its number.

        Raises:
            ConnectionLost: when there is no kernel process to send to.
        """
        if self._incarnation is None:
            raise ConnectionLost("there is no remote process to send to; run a %%gpu cell first")
        streams = self._streams
        stream, outbox, lane = (
            (streams.control, streams.control_out, Lane.CONTROL)
            if control
            else (streams.shell, streams.shell_out, Lane.SHELL)
        )
        for seq, piece, more in outbox.add(frame):
            if self._resumed:
                self._outgoing.put(lane, self._data(stream, seq, piece, more))
        return outbox.last_seq

    @property
    def last_shell_seq(self) -> int:
        return self._streams.shell_out.last_seq

    def note_taken(self, seq: int) -> None:
        """The notebook has taken all frames up to ``seq``; they are acknowledged soon. Any thread."""
        streams = self._streams
        streams.taken_seq = max(streams.taken_seq, min(seq, streams.inbox.last_seq))

    # the connection -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected until :meth:`goodbye`, or until the broker refuses for good (``Listener.failed``)."""
        retry_s = FIRST_RETRY_S
        while not self._closing:
            try:
                address = await self._find_broker()
                await self._connect_once(address)
                retry_s = FIRST_RETRY_S
            except (KernelNotFound, NotAuthorized, IncompatibleVersion) as error:
                self._fail(error)
                return
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, PerijoveError, GapInStream) as error:
                log.debug("link to kernel %s: %s", self._kernel_id, error)
            if not self._closing:
                await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _connect_once(self, address: BrokerAddress) -> None:
        url = f"{address.websocket_url}/api/kernels/{self._kernel_id}/link"
        try:
            connection = await connect(
                url,
                additional_headers=address.headers,
                compression=None,
                max_size=envelope.MAX_MESSAGE_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                proxy=None,
            )
        except InvalidStatus as error:
            raise _refused_handshake(error.response.status_code, address, self._kernel_id) from error
        async with connection:
            await self._greet(connection)
            try:
                async with asyncio.TaskGroup() as tasks:
                    sender = tasks.create_task(self._outgoing.pump(connection.send))
                    await self._receive(connection)
                    sender.cancel()
            except* ConnectionClosed:
                pass
            finally:
                self._connection_down()

    async def _greet(self, connection: ClientConnection) -> None:
        await connection.send(link.ClientHello(protocol=PROTOCOL, version=self._version).model_dump_json())
        welcome = link.to_client.validate_json(await asyncio.wait_for(connection.recv(), OPEN_TIMEOUT_S))
        if isinstance(welcome, link.LinkRefused):
            raise from_code(welcome.code, welcome.message)
        if not isinstance(welcome, link.LinkWelcome):
            raise PerijoveError(f"the broker answered a hello with {welcome.type}")
        check_compatible(welcome.protocol, who="the broker", program_version=self._version)
        self._outgoing.reset()
        self._resumed = False
        self._connected.set()
        self._listener.connection_changed(True)
        for message, _ in self._requests.values():
            self._send_text(message)
        self._view_changed(welcome.kernel)
        self.blobs.reconnected()

    def _connection_down(self) -> None:
        self._connected.clear()
        self._resumed = False
        self._outgoing.reset()
        if not self._closing:
            self._listener.connection_changed(False)

    async def _receive(self, connection: ClientConnection) -> None:
        async for message in connection:
            if isinstance(message, str):
                self._text_received(link.to_client.validate_json(message))
            else:
                self._envelope_received(envelope.unpack(message))

    def _text_received(self, message: link.ToClient) -> None:
        match message:
            case link.State():
                self._view_changed(message.kernel)
            case link.Reply():
                _, reply = self._requests.get(message.request_id, (None, None))
                if reply is not None and not reply.done():
                    reply.set_result(message)
            case link.Undeliverable():
                if self._incarnation is not None and message.incarnation == self._incarnation.hex():
                    self._resumed = False
                    self._listener.undeliverable()
            case link.LinkRefused():
                raise from_code(message.code, message.message)
            case link.LinkWelcome():
                raise PerijoveError("the broker said welcome twice")

    def _view_changed(self, view: KernelView) -> None:
        self.view, self.viewed_at = view, time.monotonic()
        incarnation = bytes.fromhex(view.incarnation) if view.incarnation else None
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._streams = _Streams()
            self._resumed = False
            self.blobs.abandon(ConnectionLost("the remote process ended while a value was on its way"))
            self._listener.incarnation_changed(view)
        if view.state is not KernelState.ATTACHED:
            self._resumed = False  # what crosses a release is turned away: the next attach sends it again
        elif incarnation is not None and not self._resumed:
            self._resume()
        self._listener.state_changed(view)

    def _resume(self) -> None:
        """Say what we have of the kernel's stream, and send again what the agent may lack; it drops repeats."""
        assert self._incarnation is not None
        self._resumed = True
        streams = self._streams
        for stream, outbox, lane in (
            (streams.control, streams.control_out, Lane.CONTROL),
            (streams.shell, streams.shell_out, Lane.SHELL),
        ):
            resume = Envelope(Kind.RESUME, stream, self._incarnation, ack=streams.inbox.last_seq)
            self._outgoing.put(lane, envelope.pack(resume))
            for seq, piece, more in outbox.unacknowledged():
                self._outgoing.put(lane, self._data(stream, seq, piece, more))

    def _envelope_received(self, message: Envelope) -> None:
        if message.incarnation != self._incarnation:
            return
        match message.kind:
            case Kind.DATA:
                self._data_received(message)
            case Kind.ACK | Kind.RESUMED:
                self._acknowledged(message)
                if message.kind is Kind.RESUMED and (lost := self._streams.inbox.skip_to(message.seq)):
                    self._listener.messages_lost(lost)
            case Kind.BLOB_STORED | Kind.BLOB_DATA | Kind.BLOB_FAILED:
                self.blobs.received(message.kind, message.payload)
            case _:
                log.warning("the agent sent an envelope of kind %s", message.kind.name)

    def _data_received(self, message: Envelope) -> None:
        frame = self._streams.inbox.receive(message.seq, message.payload, message.more)
        if frame is None:
            self.acknowledge()
        else:
            self._streams.whole_seq = message.seq
            self._listener.frame_received(decode_frame(frame), message.seq, len(frame))
        if self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due)

    def _acknowledged(self, message: Envelope) -> None:
        if message.stream == self._streams.shell:
            self._streams.shell_out.acknowledge(message.ack)
        elif message.stream == self._streams.control:
            self._streams.control_out.acknowledge(message.ack)

    def _ack_due(self) -> None:
        self._ack_timer = None
        self.acknowledge()
        if self._streams.inbox.last_seq > self._streams.acked_seq:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due)

    def acknowledge(self) -> None:
        """Tell the agent what the notebook has taken."""
        streams = self._streams
        ack = streams.ack
        if self._incarnation is None or not self._resumed or ack <= streams.acked_seq:
            return
        streams.acked_seq = ack
        self._outgoing.put(Lane.CONTROL, envelope.pack(Envelope(Kind.ACK, streams.shell, self._incarnation, ack=ack)))

    # sending --------------------------------------------------------------------------------------------------

    def _data(self, stream: bytes, seq: int, piece: object, more: bool) -> bytes:
        assert self._incarnation is not None
        flags = envelope.MORE if more else 0
        return envelope.pack(
            Envelope(Kind.DATA, stream, self._incarnation, seq, self._streams.taken_seq, flags, piece)  # type: ignore[arg-type]
        )

    def _send_blob_envelope(self, kind: Kind, payload: bytes) -> Awaitable[None]:
        if self._incarnation is None or not self._connected.is_set():
            return _nothing()
        self._outgoing.put(
            Lane.BULK, envelope.pack(Envelope(kind, self._streams.shell, self._incarnation, payload=payload))
        )
        return self._outgoing.room(Lane.BULK)

    def _send_text(self, message: link.FromClient) -> None:
        if self._connected.is_set():
            self._outgoing.put(Lane.CONTROL, message.model_dump_json())

    def _fail(self, error: PerijoveError) -> None:
        for _, reply in self._requests.values():
            if not reply.done():
                reply.set_exception(error)
        self.blobs.abandon(error)
        with contextlib.suppress(Exception):
            self._listener.failed(error)


async def _nothing() -> None:
    """There is no connection: what should have gone out goes out again after the next one opens."""


def _refused_handshake(status: int, address: BrokerAddress, kernel_id: str) -> PerijoveError:
    if status in (401, 403):
        return NotAuthorized(
            f"the broker at {address.url} does not accept this token; run: perijove login {address.url}"
        )
    if status == 404:
        return KernelNotFound(
            f"the broker at {address.url} knows no kernel {kernel_id}; it may have been ended elsewhere"
        )
    return ConnectionLost(f"the broker at {address.url} refused the link with status {status}")
