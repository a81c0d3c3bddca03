"""The ZeroMQ end of one kernel process: its four sockets, drained at once, and the agent's own requests to it.

Messages are passed on as their parts, without parsing their JSON; what little has to be known of them (is this a
status? of a cell?) is found by searching the header's bytes. High-water marks are off, so that nothing is dropped:
what bounds memory is the flow file, through which the kernel sees how much was taken (docs/protocol.md §5).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import mmap
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq

from ..wire.jupyter_frames import Part
from .connection import DELIMITER, Connection, message_header

OWN_PREFIX = b'"perijove-own-'
"""How ids of the agent's own requests begin; what answers them never reaches a client."""

_CHANNELS = ("iopub", "shell", "control", "stdin")
_AT_A_TIME = 256  # messages, before other kernels' sockets get their turn
_DEFER_AT_MOST = 64  # turns that a reply waits for output

Received = Callable[[str, list[bytes]], None]
"""Called with the channel and header, parent header, metadata, content, *buffers."""


class Flow:
    """The 8-byte file in which the kernel reads how many bytes of its output were taken."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)
        self._taken = 0

    def take(self, size: int) -> None:
        self._taken += size
        struct.pack_into("<Q", self._map, 0, self._taken)

    def close(self) -> None:
        self._map.close()


class Channel:
    """Connects at once; the kernel may bind its sockets later. Everything runs on the event loop."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        connection: Connection,
        flow: Flow,
        received: Received,
        may_take: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._flow = flow
        self._received = received
        self._may_take = may_take
        self._own_ids = itertools.count(1)
        self._own: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._sockets = {name: self._open(context, name) for name in _CHANNELS}
        self._scheduled: set[str] = set()
        self._deferred = 0
        self._closed = False
        for name, socket in self._sockets.items():
            self._loop.add_reader(socket.fileno(), self._drain, name)
            self._schedule(name)

    def send(self, channel: str, parts: Sequence[Part]) -> None:
        """Hand a message to the kernel; never waits, the sockets have no limit."""
        if self._closed:
            return
        self._sockets[channel].send_multipart(self._connection.signed(parts), copy=True)
        self._schedule(channel)  # a send may have eaten the wake-up of a message that came in

    async def request(self, channel: str, msg_type: str, content: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask the kernel something on the agent's own account; returns the reply: ``{"header": …, "content": …}``.

        Raises:
            TimeoutError: when it does not answer in time.
            ConnectionResetError: when it ended meanwhile.
        """
        msg_id = f"perijove-own-{next(self._own_ids)}"
        reply: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._own[msg_id] = reply
        try:
            header = message_header(msg_type, msg_id, "perijove-agent")
            self.send(channel, [header, b"{}", b"{}", json.dumps(content).encode()])
            async with asyncio.timeout(timeout_s):
                return await reply
        finally:
            del self._own[msg_id]

    def resume_taking(self) -> None:
        """The spool has room again."""
        self._schedule("iopub")

    def drain_all(self) -> None:
        """Take what a kernel that has ended left in its sockets."""
        for name in _CHANNELS:
            while not self._read(name):
                pass

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for socket in self._sockets.values():
            self._loop.remove_reader(socket.fileno())
            socket.close(linger=0)
        for reply in self._own.values():
            if not reply.done():
                reply.set_exception(ConnectionResetError("the kernel's process has ended"))

    def _open(self, context: zmq.Context[zmq.Socket[bytes]], name: str) -> zmq.Socket[bytes]:
        socket = context.socket(zmq.SUB if name == "iopub" else zmq.DEALER)
        socket.rcvhwm = 0
        socket.sndhwm = 0
        socket.linger = 0
        if name == "iopub":
            socket.subscribe(b"")
        else:
            socket.routing_id = b"perijove"  # one for all three: the kernel routes input requests by it
        socket.setsockopt(zmq.RECONNECT_IVL, 5)  # ms; the socket appears while the kernel starts
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 20)
        socket.connect(self._connection.address(name))
        return socket

    def _schedule(self, name: str) -> None:
        if name not in self._scheduled and not self._closed:
            self._scheduled.add(name)
            self._loop.call_soon(self._drain, name)

    def _drain(self, name: str) -> None:
        """Read until the socket is empty: its file descriptor only says that something changed."""
        self._scheduled.discard(name)
        if self._closed:
            return
        if name == "shell" and not self._output_first():
            self._schedule("shell")
        elif not self._read(name):
            self._schedule(name)

    def _output_first(self) -> bool:
        """What a cell showed goes before its reply; but replies do not wait for a thread that never stops printing."""
        if self._read("iopub") or self._deferred >= _DEFER_AT_MOST:
            self._deferred = 0
            return True
        self._deferred += 1
        return False

    def _read(self, name: str) -> bool:
        """Take some messages; True when no more are to be had now."""
        socket = self._sockets[name]
        for _ in range(_AT_A_TIME):
            if name == "iopub" and not self._may_take():
                return True
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return True
            if name == "iopub":
                self._flow.take(sum(map(len, parts)))
            self._dispatch(name, parts)
        return False

    def _dispatch(self, name: str, parts: list[bytes]) -> None:
        try:
            start = parts.index(DELIMITER) + 2  # behind the delimiter and the signature
        except ValueError:
            return
        message = parts[start:]
        if len(message) < 4:
            return
        if OWN_PREFIX in message[1]:
            self._own_answered(message)
        elif not (name == "iopub" and b'"iopub_welcome"' in message[0]):
            self._received(name, message)

    def _own_answered(self, message: list[bytes]) -> None:
        if not self._own or b"_reply" not in message[0]:
            return
        reply = self._own.get(json.loads(message[1])["msg_id"])
        if reply is not None and not reply.done():
            reply.set_result({"header": json.loads(message[0]), "content": json.loads(message[3])})
