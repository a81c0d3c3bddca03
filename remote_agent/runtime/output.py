"""A kernel's output, bounded: who prints faster than the notebook takes has to wait (docs/protocol.md §5).

ZeroMQ publishers never block, they drop or grow. So what is published is counted here, what was taken is read from
the flow file that the agent writes, and threads that produce output wait while too much is under way. The threads
that keep the kernel alive (IOPub, control, shell channel, heartbeat) never wait, and neither do messages of which a
request makes only a few (status, errors): an interrupted cell gets its reply through a full queue.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ipykernel.iostream import IOPubThread, OutStream

LIMIT_BYTES = 32 << 20
_NEVER_WAITING = frozenset({"IOPub", "Control", "Shell channel", "Heartbeat"})
_FEW = (b".status", b".error", b".execute_input", b".shutdown", b".perijove_result")
_SHORTEST_WAIT_S = 0.0005
_LONGEST_WAIT_S = 0.01
_GLANCE_S = 0.00005


class OutputGate:
    """Counts published bytes against the taken ones in ``flow_file`` (8 bytes, little-endian)."""

    def __init__(self, flow_file: Path | None, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._published = 0
        self._lock = threading.Lock()
        self._master_pid = os.getpid()
        self._interrupted = False
        self.has_reader = False  # nothing counts before the agent listens: ZeroMQ drops it
        self._flow: mmap.mmap | None = None
        if flow_file is not None:
            with flow_file.open("rb") as file:
                self._flow = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def count(self, parts: list[Any]) -> None:
        if not self.has_reader:
            return
        size = sum(memoryview(part).nbytes for part in parts)
        with self._lock:
            self._published += size

    def wait(self, pending_bytes: Callable[[], int] = int) -> None:
        """Wait until the notebook has taken enough. KeyboardInterrupt ends the wait, as anywhere.

        ``pending_bytes``: what will be published besides; asked again and again, as it is published meanwhile.
        """
        self._raise_interrupt()
        if self._is_open(pending_bytes()) or threading.current_thread().name in _NEVER_WAITING:
            return
        pause_s = _SHORTEST_WAIT_S
        while not self._is_open(pending_bytes()):
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)
            self._raise_interrupt()

    def wait_until_taken(self, at_most_s: float) -> None:
        """Wait until the agent has all that was published."""
        until_s = time.monotonic() + at_most_s
        while (self._under_way() or 0) > 0 and time.monotonic() < until_s:
            time.sleep(_GLANCE_S)

    def interrupt(self) -> None:
        """Stop the main thread at its next output: in an ``await``-ing cell SIGINT raises nothing by itself."""
        self._interrupted = True

    def interrupt_delivered(self) -> None:
        """The event loop runs, so the cell's cancellation reaches it in the ordinary way."""
        self._interrupted = False

    def _raise_interrupt(self) -> None:
        if self._interrupted and threading.current_thread() is threading.main_thread():
            self._interrupted = False
            raise KeyboardInterrupt

    def _is_open(self, pending_bytes: int) -> bool:
        under_way = self._under_way()
        return under_way is None or under_way + pending_bytes <= self._limit_bytes

    def _under_way(self) -> int | None:
        """Bytes that were published and are not taken; None where nobody counts: without an agent, and in a fork."""
        if self._flow is None or os.getpid() != self._master_pid:
            return None
        taken: int = struct.unpack_from("<Q", self._flow)[0]
        return self._published - taken


class BoundedIOPubThread(IOPubThread):  # type: ignore[misc]  # ipykernel is not typed
    """ipykernel's IOPub thread, with the gate in front of it."""

    def __init__(self, socket: Any, pipe: bool = False, session: Any = False, *, gate: OutputGate) -> None:
        self.gate = gate
        super().__init__(socket, pipe=pipe, session=session)

    def send_multipart(self, msg: list[Any], *args: Any, **kwargs: Any) -> None:
        if threading.current_thread() is self.thread:
            # Sent now instead of queued behind what others have queued since: so flush() returns when it is sent.
            self.gate.count(msg)
            self._really_send(msg, *args, **kwargs)
            return
        if not bytes(msg[0]).endswith(_FEW):
            self.gate.wait()
        if self._is_master_process():
            self.gate.count(msg)
        self.schedule(partial(self._really_send, msg, *args, **kwargs))

    def catch_up(self, timeout_s: float = 10.0) -> None:
        """Wait until what other threads have sent so far is on its way, so that no reply overtakes it."""
        if self._events and self.thread.is_alive():
            sent = threading.Event()
            self.schedule(sent.set)
            sent.wait(timeout_s)

    def _handle_subscription(self, frames: list[bytes]) -> None:
        self.gate.has_reader = True
        super()._handle_subscription(frames)


class BoundedOutStream(OutStream):  # type: ignore[misc]
    """stdout or stderr; what is written and not yet published counts as well.

    A flushed print costs one trip to the IOPub thread; ipykernel makes three, and starts a timer for each.
    """

    _pending_chars = 0
    _timer_runs = False

    def write(self, string: str) -> int | None:
        if self.pub_thread is not None:
            self.pub_thread.gate.wait(self._pending)
        # Counted first, and forgotten last: of a flush meanwhile a string may be missed, but none is counted for ever,
        # which would close the gate for good.
        self._pending_chars += len(string) if isinstance(string, str) else 0
        written: int | None = super().write(string)
        return written

    def _pending(self) -> int:
        return self._pending_chars

    def flush(self) -> None:
        """Nothing held, nothing to wait for: ipykernel would ask the IOPub thread all the same, twice per display."""
        with self._buffer_lock:
            holds_text = bool(self._buffers)
        if not holds_text:
            return
        thread = self.pub_thread.thread if self.pub_thread is not None else None
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            self._flush()
            return
        flushed = threading.Event()
        self.pub_thread.schedule(partial(self._flush_and_tell, flushed))
        flushed.wait(self.flush_timeout)

    def _flush_and_tell(self, flushed: threading.Event) -> None:
        try:
            self._flush()
        finally:
            flushed.set()

    def _schedule_flush(self) -> None:
        """One timer at a time: it also serves what is written after a flush, only sooner."""
        if not self._timer_runs:
            self._timer_runs = True
            self.pub_thread.schedule(partial(self._io_loop.call_later, self.flush_interval, self._flush_by_timer))

    def _flush_by_timer(self) -> None:
        self._timer_runs = False  # first, so that what is written from now on gets its own
        self._flush()

    def _rotate_buffers(self) -> Any:
        buffers = super()._rotate_buffers()
        self._pending_chars = 0
        return buffers


BoundedOutStream.__name__ = BoundedOutStream.__qualname__ = "OutStream"  # what errors and reprs call it at home
