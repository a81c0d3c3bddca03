"""How the benchmarks see a cell: what is counted, when it is done, and that what was dropped is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from benchmarks.cells import CellFailed, Execution, Message, run_cell
from benchmarks.storms import lost

OURS = "id-1"


def message(msg_type: str, content: dict[str, Any] | None = None, *, parent: str = OURS) -> Message:
    return {"header": {"msg_type": msg_type}, "parent_header": {"msg_id": parent}, "content": content or {}}


REPLY = message("execute_reply", {"status": "ok"})
IDLE = message("status", {"execution_state": "idle"})
BUSY = message("status", {"execution_state": "busy"})


def run(*arrivals: Message, may_lose: bool = False) -> Execution:
    """A cell whose front-end hears these, one at a time, and then nothing."""
    left = list(arrivals)

    def receive(timeout_s: float) -> Iterable[Message]:
        return [left.pop(0)] if left else []

    return run_cell(lambda *request: OURS, receive, "pass", within_s=0.2, may_lose=may_lose)


def stream(text: str) -> Message:
    return message("stream", {"name": "stdout", "text": text})


def display(metadata: dict[str, Any] | None = None) -> Message:
    return message("display_data", {"data": {"text/plain": "it"}, "metadata": metadata or {}})


def test_a_cell_is_done_at_its_reply_and_its_idle_in_either_order():
    for order in ((BUSY, REPLY, IDLE), (BUSY, IDLE, REPLY)):
        seen = run(*order)
        assert seen.is_done
        assert seen.done_s == max(seen.reply_s, seen.idle_s) > 0


def test_a_cell_without_idle_is_not_done():
    with pytest.raises(TimeoutError, match="not done within"):
        run(BUSY, REPLY)


def test_what_is_dropped_on_the_way_may_be_done_without_and_is_told():
    seen = run(BUSY, stream("0\n"), REPLY, may_lose=True)
    assert not seen.is_done
    assert seen.done_s == seen.last_s == seen.reply_s
    assert lost(seen, 1) == 1  # the idle


def test_messages_of_others_do_not_count():
    seen = run(message("stream", {"text": "theirs"}, parent="id-2"), BUSY, stream("ours"), REPLY, IDLE)
    assert (seen.text, seen.streams) == ("ours", 1)


def test_a_status_line_is_no_display():
    seen = run(display(), display({"perijove": {"role": "status"}}), REPLY, IDLE)
    assert (seen.displays, seen.status_lines) == (1, ["it"])


def test_a_cell_that_raises_is_an_error_of_the_benchmark():
    failed = message("execute_reply", {"status": "error", "ename": "NameError", "evalue": "x"})
    with pytest.raises(CellFailed, match="NameError: x"):
        run(failed, IDLE)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("0\n1\n2\n", 0),
        ("0\n2\n", 1),
        ("0\n2\n1\n", 1),  # out of place
        ("0\n1\n2\nIOPub message rate exceeded.\n", 1),  # more than was printed
        ("", 3),
    ],
)
def test_lines_of_a_storm_that_did_not_arrive(text: str, missing: int):
    assert lost(Execution(reply_s=1.0, idle_s=1.0, text=text), 3) == missing


def test_displays_of_a_storm_that_did_not_arrive():
    assert lost(Execution(reply_s=1.0, idle_s=1.0, displays=2), 3) == 1
