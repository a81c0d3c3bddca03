"""The resumable link to one kernel, over a WebSocket: dials, says hello, writes, and dials again.

Runs on the client's own loop. What is numbered, kept, repeated and acknowledged is decided by
:class:`~perijove.wire.resumable.ResumableLink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ..wire import envelope, link, tracing
from ..wire.envelope import Kind
from ..wire.errors import (
    ConnectionLost,
    IncompatibleVersion,
    KernelNotFound,
    NotAuthorized,
    PerijoveError,
    from_code,
)
from ..wire.ids import new_id
from ..wire.lanes import Lane
from ..wire.link_connection import LinkConnection
from ..wire.models import KernelView
from ..wire.replay import GapInStream
from ..wire.resumable import Listener as Listener
from ..wire.resumable import Request, ResumableLink
from ..wire.versions import PROTOCOL, WATCH_SINCE_MINOR, check_compatible
from .address import BrokerAddress
from .blob_transfer import BlobTransfers
from .outgoing import Outgoing

log = logging.getLogger(__name__)

ACK_AFTER_S = 0.05
OPEN_TIMEOUT_S = 10.0
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 5.0


class KernelChannel:
    """One kernel's channel. Make it, run :meth:`run` as a task, and use it from the same loop only."""

    def __init__(
        self,
        find_broker: Callable[[], Awaitable[BrokerAddress]],
        kernel_id: str,
        listener: Listener,
        version: str,
        *,
        session: str = "",
    ) -> None:
        """``session``: the Jupyter session that the kernel's messages are to name; empty: whichever it has."""
        tracing.prepare("client")
        self._find_broker = find_broker
        self._kernel_id = kernel_id
        self._listener = listener
        self._hello = link.ClientHello(protocol=PROTOCOL, version=version, session=session)
        self._outgoing = Outgoing()
        self.blobs = BlobTransfers(self._send_blob_envelope)
        self._link = ResumableLink(self._put, listener, self.blobs)
        self._connection: LinkConnection | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._broker_minor = 0
        self.viewed_at = 0.0  # when the view came, monotonic seconds

    @property
    def view(self) -> KernelView | None:
        """The broker's latest word on this kernel. Any thread."""
        return self._link.view

    @property
    def is_attached(self) -> bool:
        """Whether the kernel has its GPU and can be spoken to, as far as is known here. Any thread."""
        return self._link.is_attached

    # requests -------------------------------------------------------------------------------------------------

    async def attach(self, gpu: str | None = None) -> KernelView:
        """Have a GPU; returns at once when the kernel holds one. Cancelling this call leaves the queue.

        Args:
            gpu: the GPU spec to have from now on; None: the one it was made with, or was last given.

        Raises:
            AttachError: why there is none.
            InvalidGpuSpec: the spec cannot be read.
            VariablesElsewhere: the variables are where no such GPU is; ``restart(gpu)`` gives them up.
        """
        if self.is_attached and gpu is None:
            assert self.view is not None
            return self.view
        with tracing.start(await tracing.tracer_of("client"), "attach", kernel=self._kernel_id) as span:
            request = link.AttachRequest(request_id=new_id("request"), gpu=gpu, traceparent=span.traceparent)
            try:
                await self._request(request)
            except asyncio.CancelledError:
                self._link.say(link.CancelRequest(request_id=request.request_id))
                raise
            view = self.view
            assert view is not None  # the state came before the reply
            if view.gpus is not None and view.lease is not None:
                span.set(gpu=view.gpus.model, agent=view.gpus.agent_name, lease=view.lease.id)
                span.set(simulated=view.gpus.simulated)
            return view

    async def release(self, *, end: bool = False) -> None:
        await self._request(link.ReleaseRequest(request_id=new_id("request"), end=end))

    async def restart(self, gpu: str | None = None) -> None:
        """A new process in place of the old one.

        ``gpu``: a GPU spec to have from now on, wherever that is. A GPU that is not of it is given back; nothing is
        attached in its stead: that is for the next ``attach``.
        """
        await self._request(link.RestartRequest(request_id=new_id("request"), gpu=gpu))

    async def set_budget(self, nanodollars: int | None) -> None:
        """What this kernel may cost altogether; None: no limit."""
        await self._request(link.BudgetRequest(request_id=new_id("request"), nanodollars=nanodollars))

    async def keep(self, seconds: int) -> None:
        """Hold the GPU for so much longer than idleness would.

        Raises:
            KernelReleased: there is none to hold.
            IncompatibleVersion: the broker is too old to know of this.
        """
        if self._broker_minor < WATCH_SINCE_MINOR:
            raise IncompatibleVersion("this broker is too old to keep a GPU longer; update perijove on its machine")
        await self._request(link.KeepRequest(request_id=new_id("request"), seconds=seconds))

    def watch(self, on: bool) -> None:
        """Hear what the kernel and its GPUs do, once a second (``Listener.usage_received``), from now on or no more."""
        self._link.watch(on)

    def report_local_activity(self, busy: bool) -> None:
        self._link.say(link.LocalActivity(busy=busy))

    async def goodbye(self) -> None:
        """Tell the broker that this kernel is no longer needed, and close."""
        self._closing = True
        if self._link.is_open:
            self._link.say(link.Goodbye())
            await self._outgoing.drained()
        self._outgoing.close()

    async def _request(self, message: Request) -> None:
        answered: asyncio.Future[link.Reply] = asyncio.get_running_loop().create_future()

        def on_reply(reply: link.Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        self._link.request(message, on_reply)
        try:
            answer = await answered
        finally:
            self._link.forget_request(message.request_id)
        if answer.code:
            raise from_code(answer.code, answer.message)

    # frames ---------------------------------------------------------------------------------------------------

    def send(self, frame: bytes, *, control: bool = False) -> int:
        """Send a Jupyter frame to the kernel, now and again after a reconnection until it is there. Returns its number.

        Raises:
            ConnectionLost: when there is no kernel process to send to.
        """
        return self._link.send(frame, control=control)

    @property
    def last_shell_seq(self) -> int:
        return self._link.last_shell_seq

    def note_taken(self, seq: int) -> None:
        """The notebook has taken all frames up to ``seq``; they are acknowledged soon. Any thread."""
        self._link.note_taken(seq)

    def acknowledge(self) -> None:
        """Tell the agent what the notebook has taken."""
        self._link.acknowledge()

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
                create_connection=LinkConnection,
                max_size=envelope.MAX_MESSAGE_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                proxy=None,
            )
        except InvalidStatus as error:
            raise _refused_handshake(error.response.status_code, address, self._kernel_id) from error
        assert isinstance(connection, LinkConnection)
        async with connection:
            try:
                async with asyncio.TaskGroup() as tasks:
                    closed = tasks.create_task(connection.until_closed())
                    await self._greet(connection, closed)
                    sender = tasks.create_task(self._outgoing.pump(connection.send))
                    await asyncio.wait((closed,))
                    sender.cancel()
            except* ConnectionClosed:
                pass
            finally:
                self._connection_down()

    async def _greet(self, connection: LinkConnection, closed: asyncio.Task[None]) -> None:
        """Say hello, and wait for the welcome; what comes right behind it is handled right behind it."""
        welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heard(message: str | bytes | bytearray) -> None:
            if welcomed.done():
                self._heard(message)
                return
            try:
                self._welcomed(connection, message)
                welcomed.set_result(None)
            except Exception as error:  # noqa: BLE001 - it is raised below
                welcomed.set_exception(error)

        connection.hear(heard)
        await connection.send(self._hello.model_dump_json())
        await asyncio.wait((welcomed, closed), timeout=OPEN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not welcomed.done():
            welcomed.cancel()
            raise ConnectionLost("the broker did not answer a hello")
        welcomed.result()

    def _welcomed(self, connection: LinkConnection, message: str | bytes | bytearray) -> None:
        welcome = link.to_client.validate_json(message)
        if isinstance(welcome, link.LinkRefused):
            raise from_code(welcome.code, welcome.message)
        if not isinstance(welcome, link.LinkWelcome):
            raise PerijoveError(f"the broker answered a hello with {welcome.type}")
        check_compatible(welcome.protocol, who="the broker", program_version=self._hello.version)
        self._outgoing.reset()
        self._connection = connection
        self.viewed_at = time.monotonic()
        self._broker_minor = welcome.protocol.minor
        self._link.opened(welcome.kernel, can_watch=self._broker_minor >= WATCH_SINCE_MINOR)

    def _heard(self, message: str | bytes | bytearray) -> None:
        if isinstance(message, str):
            self._text_received(link.to_client.validate_json(message))
        else:
            self._link.envelope_received(message)
            if self._ack_timer is None and self._link.owes_ack:
                self._ack_timer = asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due)

    def _text_received(self, message: link.ToClient) -> None:
        match message:
            case link.LinkRefused():
                raise from_code(message.code, message.message)
            case link.LinkWelcome():
                raise PerijoveError("the broker said welcome twice")
            case link.State():
                self.viewed_at = time.monotonic()
                self._link.text_received(message)
            case _:
                self._link.text_received(message)

    def _ack_due(self) -> None:
        self._ack_timer = None
        self._link.acknowledge()
        if self._link.owes_ack:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_AFTER_S, self._ack_due)

    def _connection_down(self) -> None:
        self._connection = None
        self._outgoing.reset()
        self._link.closed(on_purpose=self._closing)

    # sending --------------------------------------------------------------------------------------------------

    def _put(self, lane: Lane, message: bytes | link.FromClient) -> None:
        """Written at once where nothing waits; else in its turn."""
        data = message if isinstance(message, bytes) else message.model_dump_json()
        connection = self._connection
        if connection is None or self._outgoing.waits or lane is Lane.BULK or not connection.send_at_once(data):
            self._outgoing.put(lane, data)

    def _send_blob_envelope(self, kind: Kind, payload: bytes) -> Awaitable[None]:
        if not self._link.send_blob(kind, payload):
            return _nothing()
        return self._outgoing.room(Lane.BULK)

    def _fail(self, error: PerijoveError) -> None:
        self._link.failed(error)
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
