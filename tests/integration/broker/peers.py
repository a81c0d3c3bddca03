"""Fake peers that speak the wire: an agent without GPUs that believes it has some, and a client without a notebook."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perijove.wire import control, link
from perijove.wire.control import LeaseReport
from perijove.wire.envelope import Envelope, Kind, pack
from perijove.wire.ids import new_incarnation
from perijove.wire.models import Gpu, GpuState, KernelState, KernelView
from perijove.wire.versions import LIMITS_TOLD_SINCE_MINOR, PROTOCOL, ProtocolVersion
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

GIB = 2**30
PATIENCE_S = 5.0
M = TypeVar("M")


def gpus(count: int, model: str = "H100", *, simulated: bool = True, host: str = "host-a") -> list[Gpu]:
    return [
        Gpu(uuid=f"GPU-{host}-{i}", index=i, model=model, name=model, memory_bytes=80 * GIB, simulated=simulated)
        for i in range(count)
    ]


def dial(url: str, token: str, **options: Any) -> connect:
    return connect(
        url.replace("http", "ws", 1),
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        max_size=None,
        proxy=None,
        **options,
    )


@dataclass
class FakeAgent:
    """Binds whatever it is told to, and reports durations that the test chooses."""

    url: str
    token: str
    gpus: list[Gpu] = field(default_factory=lambda: gpus(1))
    id: str = "agent-a"
    name: str = "host-a"
    kernels: dict[str, str] = field(default_factory=dict)  # kernel → incarnation
    leases: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # kernel → lease, gpus
    ran: LeaseReport = field(default_factory=lambda: LeaseReport(lease_id="", starting_ms=1, busy_ms=2, idle_ms=3))
    keepable: bool = True
    refuse_binds: str = ""
    refuse_idle_release: bool = False
    late_data_link: bool = False
    users: dict[str, str] = field(default_factory=dict)
    limits_ms: dict[str, int | None] = field(default_factory=dict)  # lease → what it was told last
    protocol: ProtocolVersion = field(default_factory=lambda: PROTOCOL)
    heard: list[Any] = field(default_factory=list)
    welcome: control.Welcome | None = None
    _connection: ClientConnection | None = None
    _data: dict[str, ClientConnection] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[FakeAgent]:
        async with dial(f"{self.url}/api/agents/link", self.token) as connection:
            self._connection = connection
            await self.say(self.hello())
            welcome = control.from_broker.validate_json(await connection.recv())
            assert isinstance(welcome, control.Welcome), welcome
            self.welcome = welcome
            for kernel_id in [k for k in self.kernels if k not in welcome.keep]:
                self.kernels.pop(kernel_id)
                self.leases.pop(kernel_id, None)
            for incarnation in self.kernels.values():
                await self.open_data_link(incarnation)
            serving = asyncio.create_task(self._serve(connection))
            try:
                yield self
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                for data in self._data.values():
                    await data.close()
                self._data.clear()

    def hello(self) -> control.Hello:
        return control.Hello(
            protocol=self.protocol,
            version="test",
            python="3.11.7",
            agent_id=self.id,
            name=self.name,
            gpus=self.gpus,
            kernels=[
                control.KernelReport(
                    kernel_id=kernel_id,
                    incarnation=incarnation,
                    user=self.users.get(kernel_id, "ada"),
                    gpus=self.leases.get(kernel_id, ("", []))[1],
                    lease=self.report(kernel_id),
                    busy=False,
                    keepable=self.keepable,
                )
                for kernel_id, incarnation in self.kernels.items()
            ],
        )

    def report(self, kernel_id: str) -> LeaseReport | None:
        lease = self.leases.get(kernel_id)
        if lease is None:
            return None
        limit_ms = self.limits_ms.get(lease[0]) if self.protocol.minor >= LIMITS_TOLD_SINCE_MINOR else None
        return self.ran.model_copy(update={"lease_id": lease[0], "limit_ms": limit_ms})

    async def say(self, message: Any) -> None:
        assert self._connection is not None
        await self._connection.send(message.model_dump_json())

    async def open_data_link(self, incarnation: str) -> ClientConnection:
        data = await dial(f"{self.url}/api/agents/processes/{incarnation}/link", self.token)
        self._data[incarnation] = data
        return data

    def data_link(self, kernel_id: str) -> ClientConnection:
        return self._data[self.kernels[kernel_id]]

    async def renew(self) -> None:
        reports = [report for kernel_id in self.leases if (report := self.report(kernel_id))]
        await self.say(control.Renew(leases=reports))

    async def activity(self, kernel_id: str, *, busy: bool, keepable: bool = True) -> None:
        await self.say(
            control.Activity(
                kernel_id=kernel_id,
                incarnation=self.kernels[kernel_id],
                busy=busy,
                gpu_quiet=not busy,
                keepable=keepable,
            )
        )

    async def _serve(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                message = control.from_broker.validate_json(text)
                self.heard.append(message)
                await self._answer(message)

    async def _answer(self, message: Any) -> None:
        match message:
            case control.Bind():
                self.limits_ms[message.lease_id] = message.limit_ms
                await self._bind(message)
            case control.Renewed():
                self.limits_ms |= {lease: message.limits_ms.get(lease) for lease in message.allowances_s}
            case control.Limit():
                self.limits_ms[message.lease_id] = message.limit_ms
            case control.Release():
                await self._release(message)
            case control.Restart():
                await self._restart(message)
            case control.End():
                report = self.report(message.kernel_id)
                self.leases.pop(message.kernel_id, None)
                await self._close_data(self.kernels.pop(message.kernel_id, ""))
                await self.say(control.Ended(request_id=message.request_id, kernel_id=message.kernel_id, report=report))

    async def _bind(self, message: control.Bind) -> None:
        report = self.ran.model_copy(update={"lease_id": message.lease_id, "busy_ms": 0, "idle_ms": 0})
        if self.refuse_binds:
            await self.say(
                control.BindFailed(
                    request_id=message.request_id,
                    kernel_id=message.kernel_id,
                    lease_id=message.lease_id,
                    code="attach_failed",
                    message=self.refuse_binds,
                    report=report,
                )
            )
            return
        resumed = message.incarnation is not None
        incarnation = message.incarnation or new_incarnation().hex()
        self.kernels[message.kernel_id] = incarnation
        self.users[message.kernel_id] = message.user
        self.leases[message.kernel_id] = (message.lease_id, message.gpus)
        if incarnation not in self._data and not self.late_data_link:
            await self.open_data_link(incarnation)
        await self.say(
            control.Bound(
                request_id=message.request_id,
                kernel_id=message.kernel_id,
                lease_id=message.lease_id,
                incarnation=incarnation,
                resumed=resumed,
                report=report,
            )
        )

    async def _release(self, message: control.Release) -> None:
        if message.only_if_idle and self.refuse_idle_release:
            await self.say(control.NotIdle(request_id=message.request_id, kernel_id=message.kernel_id))
            return
        report = self.report(message.kernel_id)
        assert report is not None
        del self.leases[message.kernel_id]
        kept = message.keep and self.keepable
        incarnation = self.kernels[message.kernel_id]
        if not kept:
            await self._close_data(self.kernels.pop(message.kernel_id))
        await self.say(
            control.Released(
                request_id=message.request_id,
                kernel_id=message.kernel_id,
                incarnation=incarnation,
                kept=kept,
                why_lost="" if kept else "the GPU was in use",
                report=report,
            )
        )

    async def _restart(self, message: control.Restart) -> None:
        await self._close_data(self.kernels[message.kernel_id])
        incarnation = self.kernels[message.kernel_id] = new_incarnation().hex()
        await self.open_data_link(incarnation)
        report = self.report(message.kernel_id)
        assert report is not None
        await self.say(
            control.Bound(
                request_id=message.request_id,
                kernel_id=message.kernel_id,
                lease_id=message.lease_id,
                incarnation=incarnation,
                resumed=False,
                report=report,
            )
        )

    async def _close_data(self, incarnation: str) -> None:
        if (data := self._data.pop(incarnation, None)) is not None:
            await data.close()


@dataclass
class FakeClient:
    """A client link whose texts are kept in order; binary messages are kept apart."""

    url: str
    token: str
    kernel_id: str
    view: KernelView | None = None
    texts: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    envelopes: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    close_code: int | None = None
    connection: ClientConnection | None = None
    _numbers: int = 0

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[FakeClient]:
        async with dial(f"{self.url}/api/kernels/{self.kernel_id}/link", self.token) as connection:
            self.connection = connection
            self.closed.clear()
            await self.say(link.ClientHello(protocol=PROTOCOL, version="test"))
            welcome = link.to_client.validate_json(await connection.recv())
            assert isinstance(welcome, link.LinkWelcome), welcome
            self.view = welcome.kernel
            reading = asyncio.create_task(self._read(connection))
            try:
                yield self
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    self.envelopes.put_nowait(message)
                    continue
                text = link.to_client.validate_json(message)
                if isinstance(text, link.State):
                    self.view = text.kernel
                self.texts.put_nowait(text)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = connection.close_code
            self.closed.set()

    async def say(self, message: Any) -> None:
        assert self.connection is not None
        await self.connection.send(message.model_dump_json())

    async def heard(self, kind: type[M], **fields: Any) -> M:
        """The next text of this kind whose fields are these; what comes before it is passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.texts.get()
                if isinstance(message, kind) and all(getattr(message, k) == v for k, v in fields.items()):
                    return message

    async def became(self, state: KernelState) -> KernelView:
        async with asyncio.timeout(PATIENCE_S):
            while self.view is None or self.view.state is not state:
                await self.texts.get()
            return self.view

    async def ask(self, kind: type[Any], **fields: Any) -> link.Reply:
        self._numbers += 1
        request_id = f"request-{self._numbers}"
        await self.say(kind(request_id=request_id, **fields))
        return await self.heard(link.Reply, request_id=request_id)

    async def attach(self) -> link.Reply:
        return await self.ask(link.AttachRequest)

    async def send(
        self, payload: bytes, *, seq: int = 1, incarnation: str | None = None, kind: Kind = Kind.DATA
    ) -> None:
        assert self.connection is not None
        assert self.view is not None
        named = incarnation or self.view.incarnation
        assert named is not None
        await self.connection.send(envelope(named, payload, seq=seq, kind=kind))

    async def received(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.envelopes.get()


def envelope(incarnation: str, payload: bytes, *, seq: int = 1, kind: Kind = Kind.DATA) -> bytes:
    return pack(Envelope(kind, b"streamid", bytes.fromhex(incarnation), seq=seq, payload=payload))


def free(gpu: Gpu) -> bool:
    return gpu.state is GpuState.FREE


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that comes over a socket and has no event of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the broker, or on its way
            await asyncio.sleep(0.01)
