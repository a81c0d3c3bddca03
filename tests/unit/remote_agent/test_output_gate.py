"""Who prints faster than the notebook takes waits (docs/protocol.md §5, bounded output)."""

from __future__ import annotations

import struct
import threading
from collections import defaultdict
from contextvars import ContextVar
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from perijove.remote_agent.runtime.output import BoundedOutStream, OutputGate


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow"
    path.write_bytes(bytes(8))
    return path


def take(flow: Path, total: int) -> None:
    with flow.open("r+b") as file:
        file.write(struct.pack("<Q", total))


def waits(gate: OutputGate, name: str = "printer") -> threading.Thread:
    thread = threading.Thread(target=gate.wait, name=name, daemon=True)
    thread.start()
    thread.join(0.05)
    return thread


def test_a_producer_waits_until_enough_was_taken(flow: Path) -> None:
    gate = OutputGate(flow, limit_bytes=100)
    gate.has_reader = True
    gate.count([b"x" * 100])
    gate.wait()
    gate.count([b"x"])
    waiting = waits(gate)
    assert waiting.is_alive()
    take(flow, 1)
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_reply_waits_for_the_output_before_it(flow: Path) -> None:
    gate = OutputGate(flow, limit_bytes=100)
    gate.has_reader = True
    gate.count([b"x"])
    replying = threading.Thread(target=gate.wait_until_taken, args=(60,), daemon=True)
    replying.start()
    replying.join(0.05)
    assert replying.is_alive()
    take(flow, 1)
    replying.join(5)
    assert not replying.is_alive()


def test_a_reply_does_not_wait_for_an_agent_that_takes_nothing(flow: Path) -> None:
    gate = OutputGate(flow, limit_bytes=100)
    gate.has_reader = True
    gate.count([b"x"])
    gate.wait_until_taken(0.001)


def test_what_nobody_can_hear_does_not_count(flow: Path) -> None:
    gate = OutputGate(flow, limit_bytes=10)
    gate.count([b"x" * 100])
    gate.wait()


@pytest.mark.parametrize("name", ["IOPub", "Control", "Shell channel", "Heartbeat"])
def test_the_threads_that_keep_a_kernel_alive_never_wait(flow: Path, name: str) -> None:
    gate = OutputGate(flow, limit_bytes=10)
    gate.has_reader = True
    gate.count([b"x" * 100])
    assert not waits(gate, name).is_alive()


def test_text_that_is_written_and_not_yet_published_counts(flow: Path) -> None:
    gate = OutputGate(flow, limit_bytes=10)
    pending = 10
    gate.wait(lambda: pending)
    pending = 11
    waiting = threading.Thread(target=gate.wait, args=(lambda: pending,), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    pending = 0  # published and taken: more than the limit at once is no reason to wait for ever
    waiting.join(5)
    assert not waiting.is_alive()


def test_an_interrupt_ends_the_wait_of_the_main_thread(flow: Path) -> None:
    gate = OutputGate(flow, limit_bytes=10)
    gate.has_reader = True
    gate.count([b"x" * 100])
    threading.Timer(0.05, gate.interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        gate.wait()


def test_an_interrupt_that_the_event_loop_delivered_is_not_raised_again(flow: Path) -> None:
    gate = OutputGate(flow)
    gate.interrupt()
    gate.interrupt_delivered()
    gate.wait()


class FlushedAtOnce(BoundedOutStream):
    """A stream whose timer runs out before ``write`` returns, as it can on a busy machine; it has no kernel."""

    echo = None
    _should_watch = False

    def __init__(self, pub_thread: Any) -> None:
        self.pub_thread = pub_thread
        self._parent_header: ContextVar[dict[str, str]] = ContextVar("parent")
        self._parent_header.set({})
        self._buffer_lock = threading.RLock()
        self._buffers = defaultdict(StringIO)

    def _is_master_process(self) -> bool:
        return True

    def _schedule_flush(self) -> None:
        self._rotate_buffers()


def test_a_flush_in_the_middle_of_a_write_leaves_nothing_counted() -> None:
    stream = FlushedAtOnce(SimpleNamespace(gate=OutputGate(None)))
    stream.write("x" * 1000)
    assert stream._pending_chars == 0
