"""The broker goes and comes back, agents and clients do; nothing is billed that nobody proved (docs/lifecycle.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from perijove.wire import control, link
from perijove.wire.models import KernelState

from .conftest import RunningBroker
from .peers import until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]


async def test_an_attached_kernel_goes_on_after_the_broker_was_restarted(start: Start) -> None:
    async with start() as broker:
        kernel_id = await broker.kernel()
        agent = broker.agent()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.renew()
            assert client.view is not None
            before = client.view
            await until(lambda: any(isinstance(m, control.Renewed) for m in agent.heard))
    async with start() as broker:
        agent.url = broker.url
        async with broker.client(kernel_id).connected() as client:
            assert client.view is not None
            assert client.view.state is KernelState.ATTACHED, "known from the ledger"
            async with agent.connected():
                assert agent.welcome is not None
                assert agent.welcome.keep == [kernel_id]
                assert (await client.attach()).code == ""
                assert client.view.incarnation == before.incarnation
                assert client.view.lease is not None
                assert before.lease is not None
                assert client.view.lease.id == before.lease.id
                await client.send(b"on it goes")
                assert (await agent.data_link(kernel_id).recv()).endswith(b"on it goes")
                assert len((await broker.bill())["leases"]) == 1


async def test_a_suspended_kernel_is_resumed_after_a_restart(start: Start) -> None:
    async with start() as broker:
        kernel_id = await broker.kernel()
        agent = broker.agent()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            assert (await client.ask(link.ReleaseRequest)).code == ""
            incarnation = agent.kernels[kernel_id]
    async with start() as broker:
        agent.url = broker.url
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            assert client.view is not None
            assert client.view.state is KernelState.SUSPENDED
            assert (await client.attach()).code == ""
            assert client.view.incarnation == incarnation


async def test_an_agent_that_stays_away_is_billed_for_what_it_proved(start: Start) -> None:
    async with start() as broker:
        kernel_id = await broker.kernel()
        agent = broker.agent()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.renew()
            await until(lambda: any(isinstance(m, control.Renewed) for m in agent.heard))
    async with start(allowance_s=0.1, renew_every_s=0.05) as broker:
        bill = await broker.bill()
        (line,) = bill["leases"]
        assert line["closed_at"] is None, "the agent may still come"
        assert line["cost_nanodollars"] == 1097 * (1 + 2 + 3), "but nothing is billed on trust"


async def test_a_lease_that_the_ledger_missed_is_taken_up_as_reported(broker: RunningBroker) -> None:
    """The broker died between Bind and the commit: the agent knows a lease that the broker does not."""
    kernel_id = await broker.kernel()
    agent = broker.agent()
    agent.kernels[kernel_id] = "ab" * 16
    agent.leases[kernel_id] = ("lease-lost", [agent.gpus[0].uuid])
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        assert agent.welcome is not None
        assert agent.welcome.keep == [kernel_id]
        assert client.view is not None
        assert client.view.state is KernelState.ATTACHED
        (line,) = (await broker.bill())["leases"]
        assert line["id"] == "lease-lost"
        assert line["busy_ms"] == 2


async def test_what_the_broker_does_not_know_is_not_kept(broker: RunningBroker) -> None:
    agent = broker.agent()
    agent.kernels["someone"] = "cd" * 16
    agent.leases["someone"] = ("lease-x", [agent.gpus[0].uuid])
    async with agent.connected():
        assert agent.welcome is not None
        assert agent.welcome.keep == []
        assert (await broker.bill())["leases"] == []


async def test_an_agent_that_comes_back_without_the_process_is_a_loss_and_told(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.client(kernel_id).connected() as client:
        async with broker.agent().connected():
            await client.attach()
        async with broker.agent().connected():
            view = await client.became(KernelState.DETACHED)
            assert view.notice == "The kernel's process on host-a is gone; its variables are lost."
            assert (await client.attach()).code == ""


async def test_a_new_link_of_an_agent_replaces_the_old_one(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as old, broker.client(kernel_id).connected() as client:
        await client.attach()
        again = broker.agent(kernels=dict(old.kernels), leases=dict(old.leases))
        async with again.connected():
            assert again.welcome is not None
            assert again.welcome.keep == [kernel_id]
            agents = (await broker.as_("ada").get("/api/agents")).json()
            assert [agent["state"] for agent in agents] == ["connected"]
