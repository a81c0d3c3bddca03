"""``%gpu`` and ``%%gpu`` inside a process that is on the GPU (docs/protocol.md §5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from perijove.wire.control import Hello

from .fake_broker import FakeBroker, FakeClient, Outcome


async def front(client: FakeClient, code: str, answer: dict[str, Any]) -> tuple[str, Outcome]:
    """Run a cell and answer the line that it asks; returns that line, and what came of the cell."""
    msg_id = await client.execute(code)
    while True:
        frame = await client.next_frame()
        header = json.loads(bytes(frame.header))
        if header["msg_type"] == "perijove_command_request":
            assert frame.channel == "stdin"
            assert json.loads(bytes(frame.parent_header))["msg_id"] == msg_id
            break
    await client.request("stdin", "perijove_command_reply", answer, parent=bytes(frame.header))
    return json.loads(bytes(frame.content))["line"], await client.outcome(msg_id)


async def test_a_line_among_other_code_is_answered_by_the_front(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    answer = {"status": "ok", "text": "spent $1", "data": {"text/plain": "a table", "text/html": "<table>"}}
    line, outcome = await front(client, "x = 6\n%gpu bill --all", answer)
    assert line == "bill --all"
    assert outcome.text == "spent $1\n"
    assert outcome.result == "a table"
    assert (await client.run("x * 7")).result == "42"


async def test_an_error_of_the_front_is_the_cells_in_one_line(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    answer = {"status": "error", "ename": "UsageError", "evalue": "there is no 'bil'", "code": "usage_error"}
    _, outcome = await front(client, "x = 1\n%gpu bil", answer)
    assert outcome.reply["ename"] == "UsageError"
    assert outcome.reply["traceback"] == ["UsageError: there is no 'bil'"]
    answer = {"status": "error", "ename": "SomethingNewer", "evalue": "so it is", "code": "newer"}
    _, outcome = await front(client, "%gpu status\nx = 1", answer)
    assert (outcome.reply["ename"], outcome.reply["traceback"]) == ("SomethingNewer", ["SomethingNewer: so it is"])


async def test_a_line_that_would_end_its_own_cell_is_refused(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    outcome = await client.run("x = 1\n%gpu restart")
    assert outcome.reply["ename"] == "UsageError"
    assert "in a cell of its own" in outcome.reply["evalue"]
    assert (await client.run("x")).result == "1"


async def test_nobody_answers_and_an_interrupt_ends_the_wait(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute("x = 1\n%gpu status")
    while b"perijove_command_request" not in bytes((await client.next_frame()).header):
        pass
    await client.request("control", "interrupt_request", {})
    assert (await client.outcome(msg_id)).reply["ename"] == "KeyboardInterrupt"
    assert (await client.run("x")).result == "1"


async def test_a_marked_cell_runs_as_if_it_were_not_marked(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    outcome = await client.run("%%gpu H100 --in a --out b\nimport asyncio\nawait asyncio.sleep(0)\n40 + 2")
    assert outcome.result == "42"
    assert (await client.run("_ + 1")).result == "43"
    outcome = await client.run("%%gpu any\n%%capture said\nprint('heard')")
    assert outcome.reply["status"] == "ok"
    assert (await client.run("said.stdout")).result == "'heard\\n'"
    outcome = await client.run("%%gpu\nx = 1\n1 / 0")
    assert any("line 2" in line or "2 " in line for line in outcome.reply["traceback"])


async def test_a_marked_cell_that_asks_for_another_gpu_does_not_run(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await client.run("x = 1")
    outcome = await client.run("%%gpu A100\nx = 2")
    assert outcome.reply["ename"] == "NoSuchGpu"
    assert "asks for A100, and the kernel holds 1 × H100" in outcome.reply["evalue"]
    assert outcome.reply["traceback"] == [f"NoSuchGpu: {outcome.reply['evalue']}"]
    following = await client.run("x")
    assert following.result == "1"
    assert following.reply["execution_count"] == outcome.reply["execution_count"] + 1


@pytest.mark.parametrize("again", ["", "\n%load_ext perijove", "\n%unload_ext perijove"])
async def test_the_extension_leaves_these_in_place(agent: Hello, broker: FakeBroker, again: str) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    assert (await client.run(f"%load_ext perijove{again}")).reply["status"] == "ok"
    assert (await client.run("%%gpu H100\n6 * 7")).result == "42"
    line, _ = await front(client, "x = 1\n%gpu", {"status": "ok", "text": "", "data": None})
    assert line == ""
