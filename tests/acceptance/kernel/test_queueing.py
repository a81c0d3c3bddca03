"""Cells behind one another, from one client and from two; a failing one ends those behind it, if it is so wished."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from .front_end import FrontEnd, is_idle, parent_of

pytestmark = pytest.mark.xdist_group("kernel-queueing")


@pytest.fixture
def other(kernel: FrontEnd) -> Iterator[BlockingKernelClient]:
    client = kernel.connect()
    yield client
    client.stop_channels()


def test_cells_behind_a_failing_one_are_aborted(kernel: FrontEnd):
    failing = kernel.start("import time; time.sleep(0.2)\n1 / 0")
    behind = [kernel.start(f"aborted_{n} = 1") for n in range(3)]
    assert kernel.finish(failing).error == "ZeroDivisionError: division by zero"
    for message_id in behind:
        cell = kernel.finish(message_id)
        assert cell.reply["content"]["status"] == "aborted"
        assert cell.of("execute_input", "error") == []
    assert kernel.run("[name for name in dir() if name.startswith('aborted_')]").result == "[]"


def test_with_stop_on_error_false_they_run(kernel: FrontEnd):
    failing = kernel.start("import time; time.sleep(0.2)\n1 / 0", stop_on_error=False)
    behind = kernel.start("print('on')")
    assert kernel.finish(failing).error == "ZeroDivisionError: division by zero"
    assert kernel.finish(behind).stdout == "on\n"


def test_each_client_has_its_own_replies_and_both_see_all_output(kernel: FrontEnd, other: BlockingKernelClient):
    mine = kernel.start("print('mine')")
    cell = kernel.finish(mine)
    theirs = other.execute("print('theirs')")
    assert other.get_shell_msg(timeout=30)["parent_header"]["msg_id"] == theirs
    assert [m["content"]["text"] for m in kernel.output(theirs) if m["msg_type"] == "stream"] == ["theirs\n"]
    seen = ""
    while not (is_idle(message := other.get_iopub_msg(timeout=30)) and parent_of(message) == theirs):
        seen += message["content"].get("text", "")
    assert seen == "mine\ntheirs\n"
    assert cell.stdout == "mine\n"


def test_cells_of_two_clients_take_turns_and_share_variables(kernel: FrontEnd, other: BlockingKernelClient):
    assert kernel.run("turns = []").ok
    mine = [kernel.start(f"import time; time.sleep(0.02); turns.append(('mine', {n}))") for n in range(5)]
    theirs = [other.execute(f"turns.append(('theirs', {n}))") for n in range(5)]
    for message_id in mine:
        assert kernel.reply(message_id)["content"]["status"] == "ok"
    replies = [other.get_shell_msg(timeout=30) for _ in theirs]
    assert [reply["parent_header"]["msg_id"] for reply in replies] == theirs
    counts = [reply["content"]["execution_count"] for reply in replies]
    assert counts == sorted(set(counts))
    for whose in ("mine", "theirs"):
        assert kernel.run(f"[n for who, n in turns if who == {whose!r}]").result == "[0, 1, 2, 3, 4]"


def test_other_requests_are_answered_in_their_turn(kernel: FrontEnd):
    """On one shell channel a completion comes behind the cell that was sent before it, and knows what that did."""
    kernel.run("pass")  # behind a cell that still waits for a GPU, completions are answered at once, with nothing
    cell = kernel.start("import time; time.sleep(0.3)\nmade_by_the_cell = 1")
    asked = kernel.send("complete_request", {"code": "made_by_th", "cursor_pos": 10})
    assert kernel.reply(cell)["content"]["status"] == "ok"
    assert kernel.reply(asked)["content"]["matches"] == ["made_by_the_cell"]
