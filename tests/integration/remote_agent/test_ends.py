"""Processes that die, agents that are killed, brokers that stay away: nobody holds what nobody answers for."""

# ruff: noqa: ASYNC110, ASYNC240 - waiting for other processes to be gone has no event to wait for

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from perijove.remote_agent.agent import run
from perijove.remote_agent.errors import AgentRefused, AgentRunning, BrokerStayedAway
from perijove.remote_agent.settings import AgentSettings
from perijove.remote_agent.strays import marked_processes
from perijove.wire.control import (
    Bind,
    BindFailed,
    Bound,
    End,
    Ended,
    Hello,
    Inventory,
    NotIdle,
    ProcessEnded,
    Refused,
    Release,
    Released,
    Restart,
    Welcome,
)
from perijove.wire.versions import PROTOCOL, ProtocolVersion

from .fake_broker import TOKEN, FakeBroker

GONE_S = 10.0


async def pid_of(client) -> int:
    return int((await client.run("import os; os.getpid()")).result)


async def gone(pid: int) -> None:
    async with asyncio.timeout(GONE_S):
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            await asyncio.sleep(0.01)


async def test_a_killed_kernel_is_reported_with_its_reason(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    os.kill(await pid_of(client), signal.SIGKILL)
    ended = await broker.until(ProcessEnded)
    assert (ended.kernel_id, ended.incarnation, ended.reason) == (kernel_id, client.incarnation, "killed")
    assert "SIGKILL" in ended.message
    assert ended.report.lease_id == client.bound.lease_id
    await broker.bind(kernel_id=kernel_id, gpus=[agent.gpus[0].uuid])  # the GPU is free again


async def test_what_a_dying_kernel_printed_last_arrives(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await client.execute("import os; print('last words', flush=True); os._exit(3)")
    ended = await broker.until(ProcessEnded)
    assert (ended.reason, ended.message) == ("exited", "the kernel's process exited with status 3")
    texts = [bytes(client.frames.get_nowait().content) for _ in range(client.frames.qsize())]
    assert any(b"last words" in text for text in texts)


async def test_commands_that_a_cell_left_running_end_with_the_kernel(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    child = await client.run("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True).pid")
    os.kill(await pid_of(client), signal.SIGKILL)
    await broker.until(ProcessEnded)
    await gone(int(child.result))


async def test_a_restart_gives_a_new_process_on_the_same_gpus(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    old = await pid_of(client)
    await broker.send(Restart(request_id="r", kernel_id=kernel_id, lease_id=client.bound.lease_id))
    bound = await broker.until(Bound, lambda message: message.request_id == "r")
    assert bound.incarnation != client.incarnation
    assert bound.lease_id == client.bound.lease_id
    await gone(old)


async def test_a_gpu_is_held_once(agent: Hello, broker: FakeBroker) -> None:
    await broker.bind(gpus=[agent.gpus[0].uuid])
    command = Bind(
        request_id="again",
        kernel_id="other",
        user="ada",
        lease_id="l2",
        gpus=[agent.gpus[0].uuid],
        incarnation=None,
        allowance_s=10,
    )
    await broker.send(command)
    failed = await broker.until(BindFailed)
    assert (failed.request_id, failed.code) == ("again", "gpu_unavailable")


async def test_a_process_that_is_gone_cannot_be_resumed(agent: Hello, broker: FakeBroker) -> None:
    command = Bind(
        request_id="r",
        kernel_id="k",
        user="ada",
        lease_id="l",
        gpus=[agent.gpus[0].uuid],
        incarnation="ab" * 16,
        allowance_s=10,
    )
    await broker.send(command)
    failed = await broker.until(BindFailed)
    assert failed.state_lost
    await broker.bind(gpus=[agent.gpus[0].uuid])


async def test_out_of_contact_an_idle_kernel_is_suspended_when_its_allowance_is_used_up(
    agent: Hello, broker: FakeBroker
) -> None:
    broker.allowance_s = 0.5
    broker.answer_renewals = False
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    released = await broker.until(Released)
    assert (released.request_id, released.kernel_id, released.kept) == ("", kernel_id, True)
    broker.allowance_s = 60.0
    broker.answer_renewals = True
    _, again = await broker.bind(kernel_id=kernel_id, incarnation=client.incarnation, gpus=[agent.gpus[0].uuid])
    assert again.bound.resumed


async def test_out_of_contact_a_busy_kernel_is_ended_when_its_allowance_is_used_up(
    agent: Hello, broker: FakeBroker
) -> None:
    broker.allowance_s = 1.0
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    pid = await pid_of(client)
    await client.execute("import time; time.sleep(600)")
    await broker.stop()
    await gone(pid)
    await broker.start()
    hello = await broker.until(Hello)
    assert hello.kernels == []
    released = await broker.until(Released)
    assert not released.kept
    assert 0 < released.report.busy_ms < 3_000


async def test_kernels_the_broker_does_not_keep_are_ended(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    pid = await pid_of(client)
    broker.welcome = lambda hello: Welcome(protocol=PROTOCOL, version="test", renew_every_s=1, allowance_s=1, keep=[])
    await broker.stop()
    await broker.start()
    await gone(pid)


# the agent itself ------------------------------------------------------------------------------------------------


async def test_a_second_agent_is_refused(agent: Hello, settings: AgentSettings) -> None:
    with pytest.raises(AgentRunning, match="already works in") as refused:
        await run(settings)
    assert refused.value.exit_status == 75


async def test_a_broker_of_another_version_ends_the_agent(settings: AgentSettings, broker: FakeBroker) -> None:
    broker.welcome = lambda hello: Refused(code="incompatible_version", message="speak protocol 2")
    with pytest.raises(AgentRefused, match="speak protocol 2"):
        await run(settings)
    broker.welcome = lambda hello: Welcome(
        protocol=ProtocolVersion(major=9, minor=0), version="9", renew_every_s=1, allowance_s=1, keep=[]
    )
    with pytest.raises(AgentRefused, match="protocol 9"):
        await run(settings)


async def test_a_token_that_the_broker_does_not_accept_ends_the_agent(broker: FakeBroker, tmp_path: Path) -> None:
    with pytest.raises(AgentRefused, match="token"):
        await run(AgentSettings(broker.url, "wrong", tmp_path / "a", spares=0))


async def test_an_agent_without_a_broker_gives_up_if_told_to(tmp_path: Path) -> None:
    settings = AgentSettings("http://127.0.0.1:1", TOKEN, tmp_path / "a", spares=0, exit_without_broker_s=0.2)
    with pytest.raises(BrokerStayedAway):
        await run(settings)


def start_agent(settings: AgentSettings) -> subprocess.Popen[bytes]:
    program = (
        "import sys, pathlib\n"
        "from perijove.remote_agent.agent import run_agent\n"
        "from perijove.remote_agent.settings import AgentSettings\n"
        "url, token, data = sys.argv[1:]\n"
        "run_agent(AgentSettings(url, token, pathlib.Path(data), simulate=(('H100', 1),), spares=1))\n"
    )
    arguments = [settings.broker_url, settings.token, str(settings.data_dir)]
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.DEVNULL)


def leftovers(agent_id: str) -> list[str]:
    processes = [str(pid) for pid in marked_processes(f"{agent_id}.")]
    guards = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and agent_id.encode() in _arguments(entry)
    ]
    return processes + guards


def _arguments(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def directories_of(premises: list[str]) -> list[str]:
    return [path for path in premises if Path(path).exists()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("guard_too", [False, True], ids=["", "after its guard was killed"])
async def test_nothing_is_left_of_an_agent_that_was_ended(
    settings: AgentSettings, broker: FakeBroker, number: signal.Signals, guard_too: bool
) -> None:
    agent = start_agent(settings)
    try:
        hello = await broker.until(Hello)
        await broker.until(Inventory, lambda inventory: inventory.spares > 0)
        _, client = await broker.bind(gpus=[hello.gpus[0].uuid])
        shown = await client.run(
            "import os, subprocess; child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            "connection = get_ipython().kernel.config.IPKernelApp.connection_file\n"
            "from ipykernel.connect import get_connection_file\n"
            "print(os.path.dirname(os.path.dirname(get_connection_file())))"
        )
        runtime_dir = shown.text.strip()
        assert Path(runtime_dir).is_dir()
        if guard_too:
            (guard,) = [
                pid for pid in leftovers(hello.agent_id) if b"remote_agent.guard" in _arguments(Path("/proc", pid))
            ]
            os.kill(int(guard), signal.SIGKILL)
            await another_guard(hello.agent_id, guard)
        agent.send_signal(number)
        await asyncio.to_thread(agent.wait, GONE_S)
        async with asyncio.timeout(GONE_S):
            while leftovers(hello.agent_id) or Path(runtime_dir).exists():
                await asyncio.sleep(0.02)
        assert not list(settings.data_dir.glob("spool/*"))
    finally:
        agent.kill()
        agent.wait()


async def another_guard(agent_id: str, old: str) -> None:
    async with asyncio.timeout(GONE_S):
        while not any(
            pid != old and b"remote_agent.guard" in _arguments(Path("/proc", pid)) for pid in leftovers(agent_id)
        ):
            await asyncio.sleep(0.02)


async def test_sigterm_says_what_the_leases_came_to(settings: AgentSettings, broker: FakeBroker) -> None:
    agent = start_agent(settings)
    try:
        hello = await broker.until(Hello)
        _, client = await broker.bind(gpus=[hello.gpus[0].uuid])
        agent.terminate()
        released = await broker.until(Released)
        assert released.report.lease_id == client.bound.lease_id
        assert await asyncio.to_thread(agent.wait, GONE_S) == 0
    finally:
        agent.kill()
        agent.wait()


async def test_an_idle_kernel_that_is_ended_runs_its_exit_handlers(
    agent: Hello, broker: FakeBroker, tmp_path: Path
) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    mark = tmp_path / "mark"
    await client.run(f"import atexit, pathlib; atexit.register(pathlib.Path({str(mark)!r}).touch)")
    await broker.send(End(request_id="e", kernel_id=kernel_id))
    await broker.until(Ended)
    assert mark.exists()


async def test_a_release_that_a_cell_has_crossed_releases_nothing(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    msg_id = await client.execute("input('go? ')")
    while (frame := await client.next_frame()).channel != "stdin":
        pass
    await broker.send(
        Release(request_id="r", kernel_id=kernel_id, lease_id=client.bound.lease_id, keep=True, only_if_idle=True)
    )
    assert (await broker.until(NotIdle)).request_id == "r"
    await client.request("stdin", "input_reply", {"value": "yes"}, parent=bytes(frame.header))
    assert (await client.outcome(msg_id)).result == "'yes'"


async def test_a_cell_sent_to_a_released_kernel_waits_for_its_gpu(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await broker.send(Release(request_id="r", kernel_id=kernel_id, lease_id=client.bound.lease_id, keep=True))
    assert (await broker.until(Released)).kept
    msg_id = await client.execute("import os; os.environ['PERIJOVE_SIMULATED_GPU']")
    await broker.bind(kernel_id=kernel_id, incarnation=client.incarnation, gpus=[agent.gpus[1].uuid])
    await client.resume()
    assert (await client.outcome(msg_id)).result == "'H100'"
