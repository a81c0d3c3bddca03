"""What users may spend, over the API: who may set what, and that it holds for all kernels and after a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from perijove.wire import control, link
from perijove.wire.models import BudgetScope, SetBy
from perijove.wire.versions import ProtocolVersion

from .conftest import RunningBroker
from .peers import FakeAgent, gpus, until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]
H100_SECOND = 1_097_000


async def put(broker: RunningBroker, asker: str, user: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await broker.as_(asker).put(f"/api/limits/{user}", json=body)
    return answer.status_code, answer.json()


async def limit(broker: RunningBroker, asker: str, scope: str, user: str | None = None) -> dict[str, Any]:
    answer = await broker.as_(asker).get("/api/limits", params={"user": user} if user else None)
    (document,) = answer.json()["users"]
    return next(found for found in document["limits"] if found["scope"] == scope)


async def test_a_user_sets_and_removes_their_own(broker: RunningBroker) -> None:
    status, document = await put(broker, "ada", "ada", scope="month", dollars="50.000000001")
    assert status == 200
    assert document["user"] == "ada"
    found = await limit(broker, "ada", "month")
    assert found == {
        "scope": "month",
        "own_nanodollars": 50_000_000_001,
        "admin_nanodollars": None,
        "limit_nanodollars": 50_000_000_001,
        "set_by": "user",
        "by": "ada",
        "spent_nanodollars": 0,
        "spent_simulated_nanodollars": 0,
    }
    assert (await put(broker, "ada", "ada", scope="month", dollars=None))[0] == 200
    assert (await limit(broker, "ada", "month"))["limit_nanodollars"] is None


async def test_the_lower_one_holds_and_an_admins_cannot_be_raised_or_removed(broker: RunningBroker) -> None:
    assert (await put(broker, "root", "ada", scope="user", dollars=20))[0] == 200
    for dollars in (21, None):
        status, refusal = await put(broker, "ada", "ada", scope="user", dollars=dollars)
        assert status == 403
        assert refusal["code"] == "not_authorized"
        assert refusal["message"] == (
            "your budget for all that you use is at most $20.00, set by root, an admin; "
            "an admin can raise it: `perijove budget --for ada --user-total AMOUNT`"
        )
    assert (await put(broker, "ada", "ada", scope="user", dollars=5))[0] == 200
    found = await limit(broker, "ada", "user")
    assert (found["limit_nanodollars"], found["set_by"]) == (5_000_000_000, "user")
    assert (await put(broker, "ada", "ada", scope="user", dollars=None))[0] == 200, "what is theirs they may remove"
    found = await limit(broker, "ada", "user")
    assert (found["limit_nanodollars"], found["set_by"], found["by"]) == (20_000_000_000, "admin", "root")
    assert (await put(broker, "root", "ada", scope="user", dollars=None))[0] == 200
    assert (await limit(broker, "ada", "user"))["limit_nanodollars"] is None


async def test_nobody_but_an_admin_sees_or_sets_those_of_others(broker: RunningBroker) -> None:
    assert (await put(broker, "bob", "ada", scope="month", dollars=1))[0] == 403
    assert (await put(broker, "ada", "ada", scope="month", dollars=1, set_by="admin"))[0] == 403
    assert (await put(broker, "agent", "ada", scope="month", dollars=1))[0] == 403
    assert (await broker.as_("bob").get("/api/limits", params={"user": "ada"})).status_code == 403
    assert (await limit(broker, "ada", "month"))["limit_nanodollars"] is None


async def test_an_admin_sees_everybodys_and_sets_their_own(broker: RunningBroker) -> None:
    await put(broker, "ada", "ada", scope="month", dollars=1)
    status, document = await put(broker, "root", "root", scope="month", dollars=3)
    assert status == 200
    assert document["limits"][2]["set_by"] == "user"
    assert (await put(broker, "root", "root", scope="month", dollars=2, set_by="admin"))[0] == 200
    assert (await limit(broker, "root", "month", "root"))["set_by"] == "admin"
    users = (await broker.as_("root").get("/api/limits")).json()["users"]
    assert [user["user"] for user in users] == ["ada", "root"]
    status, refusal = await put(broker, "root", "ada", scope="month", dollars=2, set_by="user")
    assert (status, "ada's to set" in refusal["message"]) == (403, True)


@pytest.mark.parametrize(
    "body", [{"scope": "week", "dollars": 1}, {"scope": "month", "dollars": -1}, {"scope": "user"}]
)
async def test_what_cannot_be_read_is_refused(broker: RunningBroker, body: dict[str, Any]) -> None:
    assert (await put(broker, "ada", "ada", **body))[0] == 422


async def test_two_kernels_are_granted_shares_and_the_next_is_refused(broker: RunningBroker) -> None:
    await put(broker, "ada", "ada", scope="month", dollars="0.010970")  # ten seconds
    first, second, third = [broker.client(await broker.kernel()) for _ in range(3)]
    agent = broker.agent(gpus=gpus(3))
    async with agent.connected(), first.connected(), second.connected(), third.connected():
        assert [(await client.attach()).code for client in (first, second)] == ["", ""]
        assert [m.limit_ms for m in agent.heard if isinstance(m, control.Bind)] == [7_000, 3_000]
        reply = await third.attach()
        assert reply.code == "budget_exhausted"
        assert "is set aside for your kernels that run; release one of them" in reply.message


async def test_a_limit_that_is_set_while_a_kernel_runs_reaches_its_agent_and_its_client(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    agent = broker.agent()
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        await client.attach()
        await put(broker, "root", "ada", scope="user", dollars="0.010970")
        await until(lambda: any(isinstance(m, control.Limit) for m in agent.heard))
        told = next(m for m in agent.heard if isinstance(m, control.Limit))
        assert told.limit_ms is not None
        assert 7_000 <= told.limit_ms <= 7_500
        await until(lambda: client.view is not None and bool(client.view.budgets))
        assert client.view is not None
        (budget,) = client.view.budgets
        assert (budget.scope, budget.set_by, budget.by, budget.simulated) == (
            BudgetScope.USER,
            SetBy.ADMIN,
            "root",
            True,
        )


async def test_limits_and_what_was_spent_are_known_after_a_restart_and_audited(start: Start) -> None:
    async with start() as broker:
        await put(broker, "root", "ada", scope="month", dollars=2)
        await put(broker, "ada", "ada", scope="kernel", dollars=1)
        kernel_id = await broker.kernel()
        agent = broker.agent()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            await client.ask(link.ReleaseRequest)
    async with start() as broker, broker.client(kernel_id).connected() as client:
        assert client.view is not None
        assert [(b.scope, b.limit_nanodollars) for b in client.view.budgets] == [
            (BudgetScope.KERNEL, 10**9),
            (BudgetScope.MONTH, 2 * 10**9),
            (BudgetScope.MONTH, 2 * 10**9),
        ]
        found = await limit(broker, "ada", "month")
        bill = await broker.bill()
        assert found["spent_simulated_nanodollars"] == bill["simulated_nanodollars"] == 1097 * 6
        entries = (await broker.as_("root").get("/api/audit")).json()["entries"]
        told = [(e["actor"], e["user"], e["detail"]) for e in entries if e["action"] == "set_limit"]
        assert told == [
            ("ada", "ada", {"scope": "kernel", "set_by": "user", "budget_nanodollars": 10**9}),
            ("root", "ada", {"scope": "month", "set_by": "admin", "budget_nanodollars": 2 * 10**9}),
        ]


async def test_an_agent_of_an_older_minor_version_keeps_to_limits_that_it_does_not_report(start: Start) -> None:
    """It is told as before. What it was granted by an earlier broker counts as all that it may run unheard."""
    agent: FakeAgent
    async with start() as broker:
        await put(broker, "ada", "ada", scope="month", dollars="0.1097")  # 100 s
        kernel_id = await broker.kernel()
        agent = broker.agent(protocol=ProtocolVersion(major=1, minor=3), gpus=gpus(2))
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.renew()
            await until(lambda: any(isinstance(m, control.Renewed) for m in agent.heard))
            assert limits_of(agent) == [50_003], (
                "half of what was left, ahead of the three milliseconds that it has run"
            )
    async with start() as broker:
        agent.url = broker.url
        async with agent.connected():
            agent.heard.clear()
            await agent.renew()
            await until(lambda: any(isinstance(m, control.Renewed) for m in agent.heard))
            (limit_ms,) = limits_of(agent)
            assert 49_000 <= limit_ms <= 51_000, "its lease goes on"


def limits_of(agent: FakeAgent) -> list[int]:
    renewed = next(m for m in agent.heard if isinstance(m, control.Renewed))
    return list(renewed.limits_ms.values())
