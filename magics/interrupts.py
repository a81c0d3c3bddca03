"""The stop button while a cell is relayed: noted, not raised in the middle of handing on a message."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class DeferredInterrupts:
    """While active, SIGINT counts up and wakes the main thread instead of raising KeyboardInterrupt.

    A KeyboardInterrupt raised between taking a message and publishing it would lose the message.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._previous: Any = None
        self.count = 0

    def take(self) -> bool:
        """Whether stop was pressed since the last call."""
        pressed, self.count = self.count > 0, 0
        return pressed

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return
        self.count = 0
        self._previous = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, self._previous or signal.SIG_DFL)

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """For a stretch that must be stoppable at once, such as waiting for the user's input."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        self._wake()
