"""A broker as an agent sees it: a small WebSocket server that speaks the wire and does what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from perijove.wire.control import (
    Bind,
    Bound,
    FromAgent,
    FromBroker,
    Hello,
    Renew,
    Renewed,
    Welcome,
    from_agent,
)
from perijove.wire.envelope import MORE, Envelope, Kind, pack, unpack
from perijove.wire.ids import new_stream
from perijove.wire.jupyter_frames import JupyterFrame, decode_frame, encode_frame
from perijove.wire.replay import Inbox, Outbox
from perijove.wire.versions import PROTOCOL
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

M = TypeVar("M")
TOKEN = "agent-token"
ANSWER_S = 30.0


class FakeBroker:
    """``allowance_s`` is what each bind and renewal grants."""

    def __init__(self) -> None:
        self.allowance_s = 60.0
        self.renew_every_s = 0.2
        self.welcome: Callable[[Hello], FromBroker] | None = None
        self.answer_renewals = True
        self.limits_ms: dict[str, int] = {}
        self.messages: list[FromAgent] = []
        self.links: dict[str, ServerConnection] = {}
        self.clients: dict[str, FakeClient] = {}
        self._control: ServerConnection | None = None
        self._news = asyncio.Condition()
        self._server: Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            compression=None,
            max_size=2 << 20,
            ping_interval=None,
            process_request=self._check_token,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def _check_token(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers["Authorization"] == f"Bearer {TOKEN}":
            return None
        return connection.respond(403, "")

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        with contextlib.suppress(ConnectionClosed):
            if path == "/api/agents/link":
                await self._serve_control(connection)
            else:
                await self._serve_data(connection, path.split("/")[4])

    async def _serve_control(self, connection: ServerConnection) -> None:
        hello = from_agent.validate_json(await connection.recv())
        assert isinstance(hello, Hello)
        answer = (
            self.welcome(hello)
            if self.welcome
            else Welcome(
                protocol=PROTOCOL,
                version="test",
                renew_every_s=self.renew_every_s,
                allowance_s=self.allowance_s,
                keep=[kernel.kernel_id for kernel in hello.kernels],
            )
        )
        await connection.send(answer.model_dump_json())
        self._control = connection
        await self._heard(hello)
        async for text in connection:
            message = from_agent.validate_json(text)
            if isinstance(message, Renew) and self.answer_renewals:
                granted = {lease.lease_id: self.allowance_s for lease in message.leases}
                await self.send(Renewed(allowances_s=granted, limits_ms=self.limits_ms))
            await self._heard(message)

    async def _serve_data(self, connection: ServerConnection, incarnation: str) -> None:
        async with self._news:
            self.links[incarnation] = connection
            self._news.notify_all()
        try:
            async for message in connection:
                assert isinstance(message, bytes)
                client = self.clients.get(incarnation)
                if client is not None:
                    await client.receive(unpack(message))
        finally:
            if self.links.get(incarnation) is connection:
                del self.links[incarnation]

    async def _heard(self, message: FromAgent) -> None:
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()

    async def send(self, message: FromBroker) -> None:
        assert self._control is not None
        await self._control.send(message.model_dump_json())

    async def until(self, kind: type[M], condition: Callable[[M], bool] = lambda _: True) -> M:
        """The first message of this kind (that meets the condition) since the last look; it is taken out."""
        async with asyncio.timeout(ANSWER_S), self._news:
            while True:
                for index, message in enumerate(self.messages):
                    if isinstance(message, kind) and condition(message):
                        del self.messages[index]
                        return message
                await self._news.wait()

    async def bind(
        self,
        *,
        kernel_id: str | None = None,
        incarnation: str | None = None,
        gpus: list[str] | None = None,
        limit_ms: int | None = None,
        session: str = "",
    ):
        """Bind a kernel and connect a client to it; answers (kernel id, client)."""
        kernel_id = kernel_id or str(uuid.uuid4())
        request_id = uuid.uuid4().hex
        lease_id = f"lease-{request_id}"
        if limit_ms is not None:
            self.limits_ms[lease_id] = limit_ms
        await self.send(
            Bind(
                request_id=request_id,
                kernel_id=kernel_id,
                user="ada",
                lease_id=lease_id,
                gpus=gpus or [],
                incarnation=incarnation,
                allowance_s=self.allowance_s,
                limit_ms=limit_ms,
                session=session,
            )
        )
        bound = await self.until(Bound, lambda message: message.request_id == request_id)
        client = self.clients.get(bound.incarnation)
        if client is None:
            client = self.clients[bound.incarnation] = FakeClient(self, bound.incarnation)
            await client.resume()
        client.bound = bound
        return kernel_id, client

    async def link(self, incarnation: str) -> ServerConnection:
        async with asyncio.timeout(ANSWER_S), self._news:
            await self._news.wait_for(lambda: incarnation in self.links)
            return self.links[incarnation]


class FakeClient:
    """A notebook at the other end of the broker."""

    def __init__(self, broker: FakeBroker, incarnation: str) -> None:
        self._broker = broker
        self._incarnation = bytes.fromhex(incarnation)
        self.incarnation = incarnation
        self.bound: Bound | None = None
        self.shell, self.control = new_stream(), new_stream()
        self.outboxes = {self.shell: Outbox(), self.control: Outbox()}
        self.inbox = Inbox()
        self.frames: asyncio.Queue[JupyterFrame] = asyncio.Queue()
        self.blobs: asyncio.Queue[Envelope] = asyncio.Queue()
        self.envelopes: list[Envelope] = []
        self.acknowledging = True
        self.session = uuid.uuid4().hex

    async def resume(self) -> None:
        for stream in (self.shell, self.control):
            await self.send(Envelope(Kind.RESUME, stream, self._incarnation, ack=self.inbox.last_seq))
            for seq, piece, more in self.outboxes[stream].unacknowledged():
                await self._send_data(stream, seq, piece, more)

    async def receive(self, envelope: Envelope) -> None:
        match envelope.kind:
            case Kind.DATA:
                frame = self.inbox.receive(envelope.seq, envelope.payload, envelope.more)
                if self.acknowledging:
                    await self.acknowledge()
                if frame is not None:
                    self.frames.put_nowait(decode_frame(frame))
            case Kind.ACK | Kind.RESUMED:
                self.outboxes[envelope.stream].acknowledge(envelope.ack)
                if envelope.kind is Kind.RESUMED:
                    assert self.inbox.skip_to(envelope.seq) == 0
            case _:
                self.blobs.put_nowait(envelope)

    async def acknowledge(self) -> None:
        await self.send(Envelope(Kind.ACK, self.shell, self._incarnation, ack=self.inbox.last_seq))

    async def send(self, envelope: Envelope) -> None:
        link = await self._broker.link(self.incarnation)
        with contextlib.suppress(ConnectionClosed):
            await link.send(pack(envelope))

    async def blob(self, kind: Kind, payload: bytes) -> None:
        await self.send(Envelope(kind, self.shell, self._incarnation, payload=payload))

    async def _send_data(self, stream: bytes, seq: int, piece: Any, more: bool) -> None:
        flags = MORE if more else 0
        await self.send(Envelope(Kind.DATA, stream, self._incarnation, seq, self.inbox.last_seq, flags, piece))

    async def request(
        self,
        channel: str,
        msg_type: str,
        content: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        buffers: list[bytes] | None = None,
        parent: bytes = b"{}",
        header: dict[str, Any] | None = None,
    ) -> str:
        """``header``: what is in it beside what is in every header."""
        msg_id = uuid.uuid4().hex
        whole_header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "session": self.session,
            "username": "ada",
            "version": "5.3",
            "date": "2026-11-01T00:00:00Z",
            **(header or {}),
        }
        parts = [
            json.dumps(whole_header).encode(),
            parent,
            json.dumps(metadata or {}).encode(),
            json.dumps(content).encode(),
            *(buffers or []),
        ]
        stream = self.control if channel == "control" else self.shell
        for seq, piece, more in self.outboxes[stream].add(encode_frame(channel, parts)):
            await self._send_data(stream, seq, piece, more)
        return msg_id

    async def execute(self, code: str, **kwargs: Any) -> str:
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
        return await self.request("shell", "execute_request", content, **kwargs)

    async def next_frame(self, timeout_s: float = ANSWER_S) -> JupyterFrame:
        async with asyncio.timeout(timeout_s):
            return await self.frames.get()

    async def answers(self, msg_id: str) -> AsyncIterator[tuple[str, str, dict[str, Any], JupyterFrame]]:
        """(channel, message type, content, frame) of what answers a request, up to its reply and its idle."""
        replied = idle = False
        while not (replied and idle):
            frame = await self.next_frame()
            if json.loads(bytes(frame.parent_header)).get("msg_id") != msg_id:
                continue
            msg_type = json.loads(bytes(frame.header))["msg_type"]
            content = json.loads(bytes(frame.content))
            replied |= frame.channel in ("shell", "control")
            idle |= msg_type == "status" and content["execution_state"] == "idle"
            yield frame.channel, msg_type, content, frame

    async def run(self, code: str, **kwargs: Any) -> Outcome:
        msg_id = await self.execute(code, **kwargs)
        return await self.outcome(msg_id)

    async def outcome(self, msg_id: str) -> Outcome:
        outcome = Outcome()
        async for _, msg_type, content, frame in self.answers(msg_id):
            outcome.types.append(msg_type)
            match msg_type:
                case "stream":
                    outcome.texts.append(content["text"])
                case "execute_result":
                    outcome.result = content["data"]["text/plain"]
                case "perijove_result":
                    outcome.variables = content
                    outcome.variables_frame = frame
                case "execute_reply" | "interrupt_reply" | "perijove_exchange_reply":
                    outcome.reply = content
                    outcome.reply_frame = frame
        return outcome


class Outcome:
    def __init__(self) -> None:
        self.types: list[str] = []
        self.texts: list[str] = []
        self.result = ""
        self.reply: dict[str, Any] = {}
        self.reply_frame: JupyterFrame | None = None
        self.variables: dict[str, Any] | None = None
        self.variables_frame: JupyterFrame | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)
