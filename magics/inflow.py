"""What has come from a remote kernel and waits for a thread of the notebook to take it.

The network thread puts; whichever thread of the notebook may relay takes. Nothing is bounded here: the agent sends at
most a few megabytes that have not been taken (docs/protocol.md §2), and taking is what acknowledges them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..wire.errors import PerijoveError
from ..wire.jupyter_frames import JupyterFrame
from ..wire.models import KernelView
from ..wire.usage import KernelUsage

if TYPE_CHECKING:
    from ..widgets.notebook_panel import NotebookPanel


@dataclass(frozen=True, slots=True)
class FrameArrived:
    frame: JupyterFrame
    seq: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StateChanged:
    view: KernelView


@dataclass(frozen=True, slots=True)
class IncarnationChanged:
    view: KernelView


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    connected: bool


@dataclass(frozen=True, slots=True)
class MessagesLost:
    count: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What was sent last cannot be delivered: the GPU was released at that moment."""


@dataclass(frozen=True, slots=True)
class ChannelFailed:
    error: PerijoveError


Event = (
    FrameArrived | StateChanged | IncarnationChanged | ConnectionChanged | MessagesLost | Undelivered | ChannelFailed
)


class Inflow:
    """A queue of events that is also the client channel's :class:`~perijove.client.channel.Listener`."""

    def __init__(self, wake_idle_notebook: Callable[[], None]) -> None:
        """``wake_idle_notebook`` is called, on the network thread, when something arrives and nobody waits."""
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._wake_idle_notebook = wake_idle_notebook
        self.panel: NotebookPanel | None = None  # hears at once what needs no turn of the notebook's

    def take(self, timeout_s: float) -> Event | None:
        """The next event; waits at most ``timeout_s``. An interrupt (KeyboardInterrupt) gets through."""
        events = self._events
        if events:
            return events.popleft()
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._waiting += 1
            try:
                while not events:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
            finally:
                self._waiting -= 1
            return events.popleft() if events else None

    def wake(self) -> None:
        """Let a waiting thread look again."""
        with self._changed:
            self._changed.notify_all()

    def __bool__(self) -> bool:
        return bool(self._events)

    def _put(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            waiting = self._waiting
            if waiting:
                self._changed.notify_all()
        if not waiting:
            self._wake_idle_notebook()

    # client.channel.Listener, on the network thread

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None:
        self._put(FrameArrived(frame, seq, size_bytes))

    def state_changed(self, view: KernelView) -> None:
        if self.panel is not None:
            self.panel.view_changed(view)
        self._put(StateChanged(view))

    def usage_received(self, usage: KernelUsage) -> None:
        if self.panel is not None:
            self.panel.usage_received(usage)

    def incarnation_changed(self, view: KernelView) -> None:
        self._put(IncarnationChanged(view))

    def undeliverable(self) -> None:
        self._put(Undelivered())

    def messages_lost(self, count: int) -> None:
        self._put(MessagesLost(count))

    def connection_changed(self, connected: bool) -> None:
        if self.panel is not None:
            self.panel.connection_changed(connected)
        self._put(ConnectionChanged(connected))

    def failed(self, error: PerijoveError) -> None:
        self._put(ChannelFailed(error))
