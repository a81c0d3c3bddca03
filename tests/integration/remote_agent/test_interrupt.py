"""An interrupt reaches whatever a cell does, at once, and the kernel goes on (docs/protocol.md §2, DESIGN.md §4)."""

from __future__ import annotations

import json
import time

import pytest
from perijove.wire.control import Hello

from .fake_broker import FakeBroker, FakeClient

AT_ONCE_S = 2.0


async def interrupt_when_shown(client: FakeClient, msg_id: str, *, resume_reading: bool = False) -> str:
    """Wait for the cell's first output, interrupt it, and answer the request's id."""
    while True:
        frame = await client.next_frame()
        parent = json.loads(bytes(frame.parent_header))
        if parent.get("msg_id") == msg_id and b'"stream"' in bytes(frame.header):
            return await client.request("control", "interrupt_request", {})


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("import time\nprint('on', flush=True)\ntime.sleep(60)", "KeyboardInterrupt"),
        ("import asyncio\nprint('on', flush=True)\nawait asyncio.sleep(60)", "CancelledError"),
        ("while True: print('on', flush=True)", "KeyboardInterrupt"),
        ("while True: print('on' * 1000)", "KeyboardInterrupt"),
        ("print('on', flush=True)\nimport subprocess\nsubprocess.run(['sleep', '60'])", "KeyboardInterrupt"),
    ],
    ids=["sleep", "await", "flushed prints", "unflushed prints", "subprocess"],
)
async def test_a_running_cell_is_interrupted(agent: Hello, broker: FakeBroker, code: str, ename: str) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute(code)
    await interrupt_when_shown(client, msg_id)
    before = time.monotonic()
    outcome = await client.outcome(msg_id)
    assert (outcome.reply["status"], outcome.reply["ename"]) == ("error", ename)
    assert time.monotonic() - before < AT_ONCE_S
    assert (await client.run("6 * 7")).result == "42"


async def test_an_interrupt_is_answered_as_any_request(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.request("control", "interrupt_request", {})
    outcome = await client.outcome(msg_id)
    assert outcome.types == ["status", "interrupt_reply", "status"]
    assert outcome.reply == {"status": "ok"}


@pytest.mark.parametrize("prefix", ["", "import asyncio; await asyncio.sleep(0)\n"], ids=["sync", "async"])
async def test_an_interrupt_wakes_a_cell_that_waits_for_its_reader(
    agent: Hello, broker: FakeBroker, prefix: str
) -> None:
    """The reader has stopped, spool and queue are full: the cell hangs in print, and can still be interrupted."""
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute(f"{prefix}print('on', flush=True)\nwhile True: print('x' * 100_000, flush=True)")
    client.acknowledging = False
    interrupt = await interrupt_when_shown(client, msg_id)
    client.acknowledging = True
    await client.acknowledge()
    outcome = await client.outcome(msg_id)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert interrupt


async def test_a_cell_that_an_interrupt_overtook_never_starts(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await client.run("started = False")
    overtaken = {"perijove": {"shell_seq": client.outboxes[client.shell].last_seq + 1}}
    interrupt = await client.request("control", "interrupt_request", {}, metadata=overtaken)
    await client.outcome(interrupt)
    outcome = await client.outcome(await client.execute("started = True"))
    assert outcome.reply == {"status": "aborted"}
    assert outcome.types == ["status", "execute_reply", "status"]
    assert (await client.run("started")).result == "False"


async def test_an_interrupt_of_an_earlier_cell_does_not_hit_a_later_one(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await client.run("import time")
    earlier = {"perijove": {"shell_seq": client.outboxes[client.shell].last_seq}}
    msg_id = await client.execute("print('on', flush=True); time.sleep(0.5); 'finished'")
    while b'"stream"' not in bytes((await client.next_frame()).header):
        pass
    await client.request("control", "interrupt_request", {}, metadata=earlier)
    assert (await client.outcome(msg_id)).result == "'finished'"
