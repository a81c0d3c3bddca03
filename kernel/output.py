"""IOPub: everything that front-ends are to see, none of it dropped, and never more in memory than a window's worth.

A PUB socket drops what a slow reader has no room for, a cell's ``idle`` included. This one says that there is no room
(``XPUB_NODROP``): then messages wait here, up to so many bytes; beyond that what comes of the kernel's process is not
acknowledged, and in the end the code that prints waits. Many a program reads a cell's reply before its output, so the
bytes are enough for what such cells print. Nobody subscribed: messages go nowhere, as with any PUB socket. ZeroMQ's
high-water mark counts messages, so the bytes of large ones are counted here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import zmq

from ..wire.front.messages import Writer, type_of
from ..wire.jupyter_frames import JupyterFrame, Part
from .sockets import is_large

if TYPE_CHECKING:
    from .sockets import Sockets

log = logging.getLogger(__name__)

MOST_HELD_BYTES = 32 << 20  # that wait here before anybody else has to
MOST_LARGE_BYTES = 32 << 20  # of large messages that ZeroMQ holds; one message more may be on its way, of any size
_LOOK_AGAIN_S = 0.005  # whether large messages have left, which ZeroMQ does not tell
_STUCK_AFTER_S = 30.0
_AT_A_TIME = 256
_STREAM_NAME = re.compile(rb'"name"\s*:\s*"(std(?:out|err))"')
_SUBSCRIBE = 1


class Output:
    def __init__(self, sockets: Sockets, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        self._sockets = sockets
        self._socket = sockets.output
        self._writer = writer
        self._loop = loop
        self._held: deque[list[Part] | Callable[[], None]] = deque()
        self._held_bytes = 0
        self._want_room: deque[Callable[[], None]] = deque()
        self._large: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._large_bytes = 0
        self._scheduled = False
        self._retry: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        loop.add_reader(self._socket.fileno(), self._changed)
        self._schedule()

    def publish(self, frame: JupyterFrame) -> None:
        """Give a message to all front-ends, behind what was published before."""
        parts: list[Part] = [self._topic(frame), *self._sockets.signed(frame)]
        if self._held or not self._send(parts):
            self._hold(parts)

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once ZeroMQ has all that was published so far: now, unless a reader is behind."""
        if self._held:
            self._hold(callback)
        else:
            callback()

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once more can be published without filling memory: mostly now."""
        if self._held_bytes <= MOST_HELD_BYTES:
            callback()
        else:
            self._want_room.append(callback)

    @property
    def is_behind(self) -> bool:
        return bool(self._held)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        for timer in (self._retry, self._stuck):
            if timer is not None:
                timer.cancel()

    # sending ------------------------------------------------------------------------------------------------------

    def _send(self, parts: list[Part]) -> bool:
        """False when there is no room."""
        if self._large and not self._large_have_room():
            return False
        large = is_large(parts)
        try:
            tracker = self._socket.send_multipart(parts, zmq.NOBLOCK, copy=not large, track=large)
        except zmq.Again:
            return False
        if tracker is not None and not tracker.done:
            size = size_of(parts)
            self._large.append((tracker, size))
            self._large_bytes += size
        self._schedule()  # a send may have eaten the wake-up of a subscription
        return True

    def _large_have_room(self) -> bool:
        while self._large and self._large[0][0].done:
            self._large_bytes -= self._large.popleft()[1]
        if self._large_bytes < MOST_LARGE_BYTES:
            return True
        if self._retry is None:
            self._retry = self._loop.call_later(_LOOK_AGAIN_S, self._look_again)
        return False

    def _look_again(self) -> None:
        self._retry = None
        self._pump()

    def _hold(self, item: list[Part] | Callable[[], None]) -> None:
        if not self._held:
            self._stuck = self._loop.call_later(_STUCK_AFTER_S, self._tell_of_stuck)
        self._held.append(item)
        if isinstance(item, list):
            self._held_bytes += size_of(item)

    def _pump(self) -> None:
        """Go on with what is held, as far as there is room."""
        moved = False
        for _ in range(_AT_A_TIME):
            if not self._held:
                break
            item = self._held[0]
            if isinstance(item, list):
                if not self._send(item):
                    break
                moved = True
                self._held_bytes -= size_of(item)
            self._held.popleft()
            if not isinstance(item, list):
                item()
        else:
            self._schedule()
        while self._want_room and self._held_bytes <= MOST_HELD_BYTES:
            self._want_room.popleft()()
        if moved and self._stuck is not None:
            self._stuck.cancel()
            self._stuck = self._loop.call_later(_STUCK_AFTER_S, self._tell_of_stuck) if self._held else None

    def _tell_of_stuck(self) -> None:
        self._stuck = None
        log.warning("a front-end has not read its output for %.0f s; cells that print wait for it", _STUCK_AFTER_S)

    # subscriptions ------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._changed)

    def _changed(self) -> None:
        """Something happened on the socket: a subscription, or a reader has made room."""
        self._scheduled = False
        while not self._socket.closed:
            try:
                event = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if event and event[0] == _SUBSCRIBE:
                self._welcome(event[1:])
        self._pump()

    def _welcome(self, topic: bytes) -> None:
        """Say that what is published from now on will arrive (JEP 65)."""
        frame = self._writer.message("iopub", "iopub_welcome", {"subscription": topic.decode("utf-8", "replace")})
        parts = [topic, *self._sockets.signed(frame)]
        if self._held or not self._send(parts):
            self._hold(parts)

    def _topic(self, frame: JupyterFrame) -> bytes:
        """As ipykernel names them; front-ends subscribe to everything."""
        kind = type_of(frame.header)
        if kind == "stream":
            name = _STREAM_NAME.search(frame.content)
            return b"stream." + (name.group(1) if name else b"stdout")
        return f"kernel.{self._writer.session}.{kind}".encode()


def size_of(parts: Sequence[Part]) -> int:
    return sum(map(len, parts))
