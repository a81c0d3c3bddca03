"""Output arrives whole, in order, once, whatever the reader and the link do (DESIGN.md §4)."""

from __future__ import annotations

import asyncio
import json
import os

import psutil
from perijove.remote_agent.settings import AgentSettings
from perijove.wire.control import Hello

from .fake_broker import FakeBroker, FakeClient


async def lines_of(client: FakeClient, msg_id: str) -> list[str]:
    return (await client.outcome(msg_id)).text.splitlines()


async def test_a_reader_that_pauses_loses_nothing(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    link = await broker.link(client.incarnation)
    msg_id = await client.execute("for i in range(20_000): print(i, flush=True)")
    first = await client.next_frame()
    assert first.channel == "iopub"
    link.transport.pause_reading()
    await asyncio.sleep(1.0)  # the pause itself is what is tested
    link.transport.resume_reading()
    assert await lines_of(client, msg_id) == [str(i) for i in range(20_000)]


async def test_a_silent_reader_makes_the_kernel_wait_and_bounds_memory(
    settings: AgentSettings, broker: FakeBroker, agent: Hello
) -> None:
    """200 MB are printed to a reader that does not acknowledge; window + memory + spool limit hold them back."""
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    client.acknowledging = False
    before = psutil.Process(os.getpid()).memory_info().rss
    msg_id = await client.execute("for i in range(2_000): print(f'{i:06}' + 'x' * 100_000, flush=True)")
    await asyncio.sleep(1.5)
    assert psutil.Process(os.getpid()).memory_info().rss - before < 100 << 20
    client.acknowledging = True
    await client.acknowledge()
    lines = await lines_of(client, msg_id)
    assert [line[:6] for line in lines] == [f"{i:06}" for i in range(2_000)]
    assert all(len(line) == 100_006 for line in lines)


async def test_a_cut_data_link_repeats_and_loses_nothing(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute("for i in range(3_000): print(i, flush=True)")
    outcome = asyncio.create_task(lines_of(client, msg_id))
    for _ in range(5):
        await asyncio.sleep(0.1)
        (await broker.link(client.incarnation)).transport.abort()
        await asyncio.sleep(0)
    assert await outcome == [str(i) for i in range(3_000)]


async def test_no_cell_runs_twice_when_a_client_sends_again(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await client.run("runs = 0")
    msg_id = await client.execute("runs += 1; runs")
    await client.resume()
    await client.resume()
    assert (await client.outcome(msg_id)).result == "1"
    assert (await client.run("runs")).result == "1"


async def test_a_broker_that_restarts_finds_kernels_and_their_output(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute("import time\nfor i in range(20): print(i, flush=True); time.sleep(0.05)")
    await client.next_frame()
    await broker.stop()
    await broker.start()
    hello = await broker.until(Hello)
    assert [kernel.kernel_id for kernel in hello.kernels] == [kernel_id]
    assert hello.kernels[0].lease.lease_id == client.bound.lease_id
    await client.resume()
    assert await lines_of(client, msg_id) == [str(i) for i in range(20)]


async def test_nothing_of_the_agents_own_reaches_a_client(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute("pass")
    async for _ in client.answers(msg_id):
        pass
    assert client.frames.empty()
    _, client = await broker.bind(gpus=[agent.gpus[1].uuid])
    msg_id = await client.execute("pass")
    while True:
        frame = await client.next_frame()
        assert json.loads(bytes(frame.parent_header))["msg_id"] == msg_id
        if b'"idle"' in bytes(frame.content):
            break


async def test_stdout_and_stderr_keep_their_order(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute(
        "import sys\nfor i in range(20):\n    print(i, flush=True)\n    print(-i, file=sys.stderr, flush=True)"
    )
    assert (await client.outcome(msg_id)).text.split() == [str(n) for i in range(20) for n in (i, -i)]


async def test_what_subprocesses_and_threads_write_arrives(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    outcome = await client.run(
        "import os, threading\nthread = threading.Thread(target=print, args=('thread',))\n"
        "thread.start(); thread.join()\n"
        "!echo command\nprint(os.getcwd())"
    )
    assert {"thread", "command"} <= set(outcome.text.split())
    assert "/work/" in outcome.text
