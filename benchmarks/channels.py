"""A front-end of Jupyter's kernel REST API: a kernel made with POST, its ``/channels`` WebSocket, the v1 framing.

The same code measures jupyter_server and the broker. It is as quick as Python allows: a blocking socket with
TCP_NODELAY, the ``websockets`` library's protocol without its tasks or threads, frames read where they lie.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from perijove.wire.jupyter_frames import SUBPROTOCOL, JupyterFrame, decode_frame, encode_frame
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from .cells import WITHIN_S, Execution, Message, execute_request, run_cell

_READ_BYTES = 1 << 20
_DATA = (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)


@dataclass(frozen=True, slots=True)
class KernelServer:
    """Where Jupyter's kernel API is served."""

    url: str
    token: str

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """An HTTP request; returns the document of the answer, or None where it has none."""
        headers = {"Authorization": f"token {self.token}"}
        answer = httpx.request(method, f"{self.url}{path}", headers=headers, json=body, trust_env=False, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None


class ChannelsFrontEnd:
    """One kernel and the WebSocket to it. A context manager; leaving it ends the kernel."""

    def __init__(self, server: KernelServer, kernel_name: str) -> None:
        self._server = server
        self._session = uuid.uuid4().hex
        self.kernel_id: str = server.request("POST", "/api/kernels", {"name": kernel_name})["id"]
        self._messages: deque[Message] = deque()
        self._pieces: list[bytes] = []
        self._socket, self._protocol = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def execute(
        self, code: str, *, history: bool = True, within_s: float = WITHIN_S, may_lose: bool = False
    ) -> Execution:
        """Run a cell; see :func:`~.cells.run_cell`."""
        return run_cell(self._send, self._arrivals, code, history=history, within_s=within_s, may_lose=may_lose)

    def begin(self, code: str) -> None:
        """Send a cell and wait for nothing."""
        self._send("execute_request", execute_request(code))

    def wait_until_heard(self) -> None:
        """Until the kernel answers on shell and IOPub, and has nothing more to say."""
        request = self._send("kernel_info_request", {})
        awaited = {"kernel_info_reply", "status"}
        deadline = time.monotonic() + WITHIN_S
        while awaited:
            if time.monotonic() > deadline:
                raise TimeoutError(f"a kernel at {self._server.url} did not answer within {WITHIN_S:.0f} s")
            for message in self._arrivals(1.0):
                if message["parent_header"].get("msg_id") == request:
                    awaited.discard(message["header"]["msg_type"])
        while list(self._arrivals(0.3)):
            pass

    def stay_connected(self) -> None:
        """Answer the pings that came while others were measured: a server closes a connection that does not."""
        while list(self._arrivals(0.001)):
            pass

    def disconnect(self) -> None:
        """Leave the kernel to itself."""
        self._socket.close()

    def close(self) -> None:
        self.disconnect()
        self._server.request("DELETE", f"/api/kernels/{self.kernel_id}")

    def _connect(self) -> tuple[socket.socket, ClientProtocol]:
        address = urlsplit(self._server.url)
        assert address.hostname is not None
        url = f"ws://{address.netloc}/api/kernels/{self.kernel_id}/channels?session_id={self._session}"
        protocol = ClientProtocol(parse_uri(url), subprotocols=[SUBPROTOCOL], max_size=None)  # type: ignore[list-item]
        request = protocol.connect()
        request.headers["Authorization"] = f"token {self._server.token}"
        protocol.send_request(request)
        connection = socket.create_connection((address.hostname, address.port or 80), timeout=WITHIN_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _flush(connection, protocol)
        while not protocol.events_received():  # the response to the handshake
            protocol.receive_data(connection.recv(_READ_BYTES))
            if protocol.handshake_exc is not None:
                raise protocol.handshake_exc
        if protocol.subprotocol != SUBPROTOCOL:
            raise RuntimeError(f"{self._server.url} does not speak {SUBPROTOCOL}")
        return connection, protocol

    def _send(self, msg_type: str, content: Message) -> str:
        message_id = uuid.uuid4().hex
        header = {
            "msg_id": message_id,
            "msg_type": msg_type,
            "username": "bench",
            "session": self._session,
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
        parts = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        self._protocol.send_binary(encode_frame("shell", parts))
        _flush(self._socket, self._protocol)
        return message_id

    def _arrivals(self, timeout_s: float) -> Iterator[Message]:
        if not self._messages:
            self._read(timeout_s)
        while self._messages:
            yield self._messages.popleft()

    def _read(self, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            return
        if not data:
            raise ConnectionError(f"{self._server.url} closed the connection")
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _DATA:
                self._pieces.append(bytes(event.data))
                if event.fin:
                    self._messages.append(_message(decode_frame(b"".join(self._pieces))))
                    self._pieces.clear()
        _flush(self._socket, self._protocol)  # answers to pings


def _message(frame: JupyterFrame) -> Message:
    header, parent, metadata, content = (json.loads(bytes(part)) for part in frame.parts[:4])
    return {"header": header, "parent_header": parent, "metadata": metadata, "content": content}


def _flush(connection: socket.socket, protocol: ClientProtocol) -> None:
    for data in protocol.data_to_send():
        if data:
            connection.sendall(data)
