"""From a kernel without a GPU to one with, and back: what a client sees, and what it costs (docs/protocol.md §3)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from perijove.wire import control, link
from perijove.wire.models import KernelState

from .conftest import RunningBroker
from .peers import FakeAgent, gpus, until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]


async def test_attach_release_and_bill(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel("H100")
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        assert client.view is not None
        assert client.view.state is KernelState.DETACHED
        assert (await client.attach()).code == ""
        assert client.view.state is KernelState.ATTACHED
        assert client.view.gpus is not None
        assert client.view.gpus.model == "H100"
        assert client.view.gpus.simulated
        assert client.view.release_in_s is not None
        assert 50 < client.view.release_in_s <= 60

        assert (await client.ask(link.ReleaseRequest)).code == ""
        assert client.view.state is KernelState.SUSPENDED
        assert client.view.incarnation == agent.kernels[kernel_id], "the process lives on"
        assert client.view.lease is None

        bill = await broker.bill()
        assert bill["total_nanodollars"] == 0
        assert bill["simulated_nanodollars"] == 1097 * (1 + 2 + 3)
        (line,) = bill["leases"]
        assert line["closed_at"] is not None
        assert (line["kernel"], line["user"], line["gpu"]) == (kernel_id, "ada", "H100")

        assert (await client.attach()).code == ""
        assert client.view.incarnation == agent.kernels[kernel_id], "and is resumed"


async def test_an_attached_kernel_is_answered_at_once(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        binds = sum(isinstance(message, control.Bind) for message in agent.heard)
        assert (await client.attach()).code == ""
        assert sum(isinstance(message, control.Bind) for message in agent.heard) == binds


async def test_a_warm_attach_takes_milliseconds(broker: RunningBroker) -> None:
    """The first one opens the data link and warms everything up; then only the broker's own work is left."""
    kernel_id = await broker.kernel()
    async with broker.agent().connected(), broker.client(kernel_id).connected() as client:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            await client.attach()
            times.append(time.perf_counter() - started)
            await client.ask(link.ReleaseRequest)
        assert sorted(times)[10] < 0.05, times


async def test_no_such_gpu_says_what_exists_and_what_to_do(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel("B200")
    async with broker.agent(gpus=gpus(2, "T4")).connected(), broker.client(kernel_id).connected() as client:
        started = time.monotonic()
        reply = await client.attach()
        assert time.monotonic() - started < 2
        assert reply.code == "no_such_gpu"
        assert "2 × simulated T4 (host-a)" in reply.message
        assert "--simulate B200" in reply.message
        assert client.view is not None
        assert client.view.state is KernelState.DETACHED


async def test_without_any_agent_it_fails_within_two_seconds(broker: RunningBroker) -> None:
    async with broker.client(await broker.kernel()).connected() as client:
        started = time.monotonic()
        reply = await client.attach()
        assert time.monotonic() - started < 2
        assert reply.code == "no_such_gpu"
        assert "no agent is connected" in reply.message


async def test_an_agent_that_was_announced_is_waited_for(start: Start) -> None:
    async with start(expect_agents=1) as broker, broker.client(await broker.kernel()).connected() as client:
        attaching = asyncio.create_task(client.attach())
        await client.became(KernelState.QUEUED)
        async with broker.agent().connected():
            assert (await attaching).code == ""


async def test_the_second_in_line_is_told_so_and_comes_next(broker: RunningBroker) -> None:
    first, second = await broker.kernel(), await broker.kernel()
    async with broker.agent().connected(), broker.client(first).connected() as holder:
        await holder.attach()
        async with broker.client(second).connected() as waiter:
            attaching = asyncio.create_task(waiter.attach())
            view = await waiter.became(KernelState.QUEUED)
            while not view.queue_reason:
                view = (await waiter.heard(link.State)).kernel
            assert view.queue_reason == "waiting for H100: 1st in line: 1 of 1 H100 in use"
            status = (await broker.as_("ada").get("/api/status")).json()
            assert [entry["kernel"] for entry in status["queue"]] == [second]
            await holder.ask(link.ReleaseRequest)
            assert (await attaching).code == ""


async def test_leaving_the_queue_answers_the_attach(broker: RunningBroker) -> None:
    first, second = await broker.kernel(), await broker.kernel()
    async with broker.agent().connected(), broker.client(first).connected() as holder:
        await holder.attach()
        async with broker.client(second).connected() as waiter:
            await waiter.say(link.AttachRequest(request_id="mine"))
            await waiter.became(KernelState.QUEUED)
            await waiter.say(link.CancelRequest(request_id="mine"))
            assert (await waiter.heard(link.Reply)).code == "attach_cancelled"
            assert waiter.view is not None
            assert waiter.view.state is KernelState.DETACHED


async def test_what_the_agent_cannot_bind_is_said_in_its_words(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    agent = broker.agent(refuse_binds="the environment cannot be built")
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        reply = await client.attach()
        assert (reply.code, reply.message) == ("attach_failed", "the environment cannot be built")
        assert len([m for m in agent.heard if isinstance(m, control.Bind)]) == 1


async def test_an_idle_kernel_is_released_and_a_busy_one_is_not(start: Start) -> None:
    async with start(idle_timeout_s=0.3) as broker:
        kernel_id = await broker.kernel()
        async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.activity(kernel_id, busy=True)
            await client.heard(link.State)
            await asyncio.sleep(0.2)
            await asyncio.sleep(0.2)
            assert client.view is not None
            assert client.view.state is KernelState.ATTACHED
            assert client.view.release_in_s is None
            await agent.activity(kernel_id, busy=False)
            await client.became(KernelState.SUSPENDED)
            assert client.view.saved_nanodollars >= 0


async def test_an_idle_release_that_a_cell_has_crossed_is_called_off(start: Start) -> None:
    async with start(idle_timeout_s=0.2) as broker:
        kernel_id = await broker.kernel()
        agent = broker.agent(refuse_idle_release=True)
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            await until(lambda: any(isinstance(m, control.Release) for m in agent.heard))
            await agent.activity(kernel_id, busy=True)
            assert (await client.attach()).code == "", "it still has its GPU"
            assert client.view is not None
            assert client.view.state is KernelState.ATTACHED


async def test_an_idle_kernel_is_released_soon_after_its_client_is_gone(start: Start) -> None:
    async with start(away_timeout_s=0.2) as broker:
        kernel_id = await broker.kernel()
        async with broker.agent().connected() as agent:
            async with broker.client(kernel_id).connected() as client:
                await client.attach()
            await until(lambda: kernel_id not in agent.leases)
            model = (await broker.as_("ada").get(f"/api/kernels/{kernel_id}")).json()
            assert model["perijove"]["state"] == "suspended"
            assert model["connections"] == 0


async def test_goodbye_frees_everything_at_once(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        await client.say(link.Goodbye())
        await asyncio.wait_for(client.closed.wait(), 5)
        await until(lambda: not agent.kernels)
        assert (await broker.as_("ada").get(f"/api/kernels/{kernel_id}")).status_code == 404
        async with broker.client(await broker.kernel()).connected() as other:
            assert (await other.attach()).code == "", "its GPU is free"


async def test_a_kernel_that_died_says_so_once(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        await agent.activity(kernel_id, busy=True)
        died = control.ProcessEnded(
            kernel_id=kernel_id,
            incarnation=agent.kernels.pop(kernel_id),
            reason="out_of_memory",
            message="The kernel was killed: host-a ran out of memory.",
            report=agent.report(kernel_id),
        )
        del agent.leases[kernel_id]
        await agent.say(died)
        view = await client.became(KernelState.DETACHED)
        assert view.notice == "The kernel was killed: host-a ran out of memory."
        assert view.incarnation is None
        assert (await client.attach()).code == ""
        attached = await client.became(KernelState.ATTACHED)
        assert attached.notice == view.notice, "the attach tells it"
        await agent.activity(kernel_id, busy=True)
        assert (await client.heard(link.State)).kernel.notice == "", "and nobody says it again"


async def test_a_lost_state_is_told(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent(keepable=False).connected(), broker.client(kernel_id).connected() as client:
        await client.attach()
        await client.ask(link.ReleaseRequest)
        assert client.view is not None
        assert client.view.state is KernelState.DETACHED
        assert client.view.notice == (
            "The GPU on host-a was released and the variables there are lost: the GPU was in use."
        )


async def test_restart_keeps_the_lease(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected(), broker.client(kernel_id).connected() as client:
        await client.attach()
        assert client.view is not None
        before = client.view
        assert (await client.ask(link.RestartRequest)).code == ""
        assert client.view.state is KernelState.ATTACHED
        assert client.view.incarnation != before.incarnation
        assert client.view.lease is not None
        assert before.lease is not None
        assert client.view.lease.id == before.lease.id
        assert client.view.notice == ""


async def test_a_second_client_replaces_the_first(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.client(kernel_id).connected() as first, broker.client(kernel_id).connected() as second:
        await asyncio.wait_for(first.closed.wait(), 5)
        assert second.view is not None
        model = (await broker.as_("ada").get(f"/api/kernels/{kernel_id}")).json()
        assert model["connections"] == 1


async def test_renewals_grant_an_allowance_and_move_the_cost(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        agent.ran = agent.ran.model_copy(update={"busy_ms": 100})
        await agent.renew()
        state = await client.heard(link.State)
        assert state.kernel.lease is not None
        assert state.kernel.lease.busy_ms == 100
        assert state.kernel.lease.cost_nanodollars >= 104 * 1097
        renewed = [message for message in agent.heard if isinstance(message, control.Renewed)]
        assert renewed[-1].allowances_s == {state.kernel.lease.id: 60.0}


async def test_an_unknown_lease_is_granted_nothing(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent:
        agent.leases["nobody"] = ("lease-unknown", [])
        await agent.renew()
        await until(lambda: any(isinstance(m, control.Renewed) for m in agent.heard))
        assert agent.heard[-1].allowances_s == {}


def test_the_fakes_speak_for_an_agent_of_this_protocol() -> None:
    hello = FakeAgent("", "").hello()
    assert control.from_agent.validate_json(hello.model_dump_json()) == hello
