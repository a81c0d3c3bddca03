"""Budgets over the wire: asked for with the kernel or later, told to the agent, known after a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from perijove.wire import control, link
from perijove.wire.control import LeaseReport
from perijove.wire.models import KernelState

from .conftest import RunningBroker
from .peers import FakeAgent, until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]
NANO = 1_000_000_000


def limits(agent: FakeAgent) -> list[int | None]:
    return [m.limit_ms for m in agent.heard if isinstance(m, control.Bind | control.Limit)]


@pytest.mark.parametrize("amount", ["0.01097", 0.01097])
async def test_a_budget_given_with_the_kernel_limits_its_lease(broker: RunningBroker, amount: str | float) -> None:
    kernel_id = await broker.kernel(budget=amount)
    agent = broker.agent()
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        assert client.view is not None
        assert client.view.budget_nanodollars == 10_970_000
        assert (await client.attach()).code == ""
        assert limits(agent) == [10_000]
        await agent.renew()
        await until(lambda: any(isinstance(m, control.Renewed) for m in agent.heard))
        renewed = next(m for m in agent.heard if isinstance(m, control.Renewed))
        assert list(renewed.limits_ms.values()) == [10_000]


async def test_a_budget_can_be_changed_and_removed_while_the_kernel_runs(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    agent = broker.agent()
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        await client.attach()
        for nanodollars in (1097 * 5000, None):
            assert (await client.ask(link.BudgetRequest, nanodollars=nanodollars)).code == ""
            assert client.view is not None
            assert client.view.budget_nanodollars == nanodollars
        await until(lambda: len(limits(agent)) == 3)
        assert limits(agent) == [None, 5000, None]


async def test_an_agent_that_let_go_at_the_limit_leaves_a_kernel_that_cannot_attach(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel(budget="0.001097")
    agent = broker.agent()
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        await client.attach()
        lease_id, _ = agent.leases.pop(kernel_id)
        report = LeaseReport(lease_id=lease_id, starting_ms=0, busy_ms=200, idle_ms=0)  # as much as has passed here
        incarnation = agent.kernels[kernel_id]
        await agent.say(
            control.Released(
                request_id="", kernel_id=kernel_id, incarnation=incarnation, kept=True, reason="budget", report=report
            )
        )
        await client.became(KernelState.SUSPENDED)
        reply = await client.attach()
        assert reply.code == "budget_exhausted"
        assert "does not pay for one second of H100" in reply.message
        assert (await broker.bill())["simulated_nanodollars"] == 1097 * 200


async def test_a_budget_and_what_was_spent_are_known_after_a_restart(start: Start) -> None:
    async with start() as broker:
        kernel_id = await broker.kernel(budget=2)
        agent = broker.agent()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            await client.ask(link.ReleaseRequest)
    async with start() as broker, broker.client(kernel_id).connected() as client:
        assert client.view is not None
        assert client.view.budget_nanodollars == 2 * NANO
        assert client.view.spent_nanodollars == client.view.spent_simulated_nanodollars == 1097 * 6


@pytest.mark.parametrize("amount", [-1, "much", 1e12, "NaN"])
async def test_an_amount_that_is_none_is_refused(broker: RunningBroker, amount: str | float) -> None:
    answer = await broker.as_("ada").post("/api/kernels", json={"perijove": {"gpu": "H100", "budget": amount}})
    assert answer.status_code == 422
