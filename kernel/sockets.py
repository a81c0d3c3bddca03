"""The five sockets of a kernel, bound before anything slow, then read by the event loop.

VS Code gives a kernel until its ports listen, so binding needs nothing but ZeroMQ: asyncio, and all that comes with
it, is imported later. The loop watches the sockets' file descriptors itself: those say only that *something* changed,
so a socket is read until it is empty, and looked at again after each send.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from ..wire.jupyter_frames import JupyterFrame, Part
from .heartbeat import Heartbeat
from .settings import ConnectionInfo, UnusableConnection
from .signing import Identity, RefusedMessage, Signer

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

LARGE_BYTES = 64 * 1024
"""From here on a message is given to ZeroMQ in place instead of as a copy."""

OUTPUT_HIGH_WATER_MARK = 1000
_REQUESTS = ("control", "shell", "stdin")
_AT_A_TIME = 64  # messages of one socket, before the others get their turn
_LAST_WORDS_MS = 1000  # for what is still to be delivered when the kernel ends
_LONGEST_IPC_PATH = 100

Socket = zmq.Socket[bytes]
Received = Callable[[Identity, JupyterFrame], None]


class Sockets:
    """Bound once made. ``ports`` are what was bound, also where any free one was asked for."""

    def __init__(self, connection: ConnectionInfo) -> None:
        """Raises UnusableConnection, with nothing left bound."""
        try:
            self._signer = Signer(connection.key, connection.signature_scheme)
        except ValueError as error:
            raise UnusableConnection(f"{connection.file}: {error}") from None
        self._connection = connection
        self._context: zmq.Context[Socket] = zmq.Context(io_threads=1)
        self._heartbeat = Heartbeat()
        self._sockets = {name: self._context.socket(zmq.ROUTER) for name in _REQUESTS}
        self.output = self._context.socket(zmq.XPUB)
        self.ports: dict[str, int] = {}
        self._scheduled: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received: Received | None = None
        try:
            self._configure()
            for channel, socket in [*self._sockets.items(), ("iopub", self.output), ("hb", self._heartbeat.socket)]:
                self.ports[channel] = self._bind(channel, socket)
        except BaseException:
            self.close(last_words_ms=0)
            raise
        self._heartbeat.start()

    # binding ------------------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        for socket in self._sockets.values():
            socket.sndhwm = 0  # bounded by what front-ends ask; a ROUTER would drop what is beyond
            socket.router_handover = True  # a front-end that reconnects takes its identity over
        self.output.sndhwm = OUTPUT_HIGH_WATER_MARK
        self.output.setsockopt(zmq.XPUB_NODROP, 1)  # say so instead of dropping
        self.output.setsockopt(zmq.XPUB_VERBOSE, 1)  # tell of each subscriber, not only of the first of a kind
        connection = self._connection
        for socket in [*self._sockets.values(), self.output, self._heartbeat.socket]:
            socket.linger = 0
            if ":" in connection.ip and connection.transport == "tcp":
                socket.ipv6 = True
            if connection.curve_secret_key:
                self._encrypt(socket)

    def _encrypt(self, socket: Socket) -> None:
        try:
            socket.curve_publickey = self._connection.curve_public_key
            socket.curve_secretkey = self._connection.curve_secret_key
            socket.curve_server = True
        except (zmq.ZMQError, ValueError) as error:
            raise UnusableConnection(f"{self._connection.file}: its curve keys cannot be used: {error}") from None

    def _bind(self, channel: str, socket: Socket) -> int:
        connection = self._connection
        if connection.transport == "ipc":
            return self._bind_ipc(channel, socket)
        address = connection.address(channel)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise self._unusable(channel, address, error) from None
        endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return int(endpoint.rpartition(b":")[2].rstrip(b"\0"))

    def _bind_ipc(self, channel: str, socket: Socket) -> int:
        """Over ``ipc://`` a port is the end of a file's name."""
        port = self._connection.ports[channel] or self._free_ipc_port()
        path = f"{self._connection.ip}-{port}"
        if len(path.encode()) > _LONGEST_IPC_PATH:
            raise UnusableConnection(f"{self._connection.file}: {path} is too long a path for a Unix socket")
        try:
            socket.bind(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise self._unusable(channel, f"ipc://{path}", error) from None
        return port

    def _free_ipc_port(self) -> int:
        taken = {*self.ports.values(), *self._connection.ports.values()}
        port = 1
        while port in taken or Path(f"{self._connection.ip}-{port}").exists():
            port += 1
        return port

    def _unusable(self, channel: str, address: str, error: zmq.ZMQError) -> UnusableConnection:
        if error.errno == errno.EADDRINUSE:
            what = "another program uses it; start the kernel again, which picks other ports"
        else:
            what = zmq.strerror(error.errno or 0)
        return UnusableConnection(f"{self._connection.file}: cannot listen on {address} for {channel}: {what}")

    # requests and replies -----------------------------------------------------------------------------------------

    def listen(self, loop: asyncio.AbstractEventLoop, received: Received) -> None:
        """Hand on what front-ends send, and have sent since the ports were bound, on the loop."""
        self._loop, self._received = loop, received
        for name, socket in self._sockets.items():
            loop.add_reader(socket.fileno(), self._drain, name)
            self._schedule(name)

    def send(self, identity: Identity, frame: JupyterFrame) -> None:
        """To one front-end, on the channel that the message names; one that has left misses it."""
        socket = self._sockets[frame.channel]
        parts: list[Part] = [*identity, *self._signer.signed(frame)]
        socket.send_multipart(parts, copy=not is_large(parts))
        self._schedule(frame.channel)  # a send may have eaten the wake-up of a message that came in

    def signed(self, frame: JupyterFrame) -> list[Part]:
        return self._signer.signed(frame)

    def _schedule(self, name: str) -> None:
        if name not in self._scheduled and self._loop is not None:
            self._scheduled.add(name)
            self._loop.call_soon(self._drain, name)

    def _drain(self, name: str) -> None:
        self._scheduled.discard(name)
        if self._loop is None or self._received is None:
            return
        socket = self._sockets[name]
        for _ in range(_AT_A_TIME):
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                identity, frame = self._signer.opened(name, parts)
            except RefusedMessage as refusal:
                log.warning("a message on %s was refused: %s", name, refusal)
                continue
            self._received(identity, frame)
            if self._loop is None:
                return
        self._schedule(name)

    # the end ------------------------------------------------------------------------------------------------------

    def stop_listening(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            for socket in self._sockets.values():
                loop.remove_reader(socket.fileno())

    def close(self, last_words_ms: int = _LAST_WORDS_MS) -> None:
        """Wait a little for what was said last to be delivered; a front-end that does not read is not waited for."""
        self.stop_listening()
        for socket in [*self._sockets.values(), self.output]:
            socket.close(linger=last_words_ms)
        self._context.term()
        self._heartbeat.close()
        if self._connection.transport == "ipc":
            for port in self.ports.values():
                Path(f"{self._connection.ip}-{port}").unlink(missing_ok=True)


def is_large(parts: Sequence[Part]) -> bool:
    return any(len(part) > LARGE_BYTES for part in parts)
