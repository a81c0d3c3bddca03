"""The audit log over the API: each action has an entry that names who did it, and others cannot read it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from perijove.wire import control, link
from perijove.wire.control import LeaseReport
from perijove.wire.models import KernelState

from .conftest import RunningBroker

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]


async def log(broker: RunningBroker, user: str = "root", **params: Any) -> list[dict[str, Any]]:
    """The oldest entry first, without those for the tokens that the tests begin with."""
    response = await broker.as_(user).get("/api/audit", params=params)
    assert response.status_code == 200, response.text
    entries = list(reversed(response.json()["entries"]))
    return [entry for entry in entries if entry["via"] != "command"]


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(entry["action"], entry["actor"], entry["via"]) for entry in entries]


async def test_a_kernels_life_and_who_was_behind_it(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await client.ask(link.BudgetRequest, nanodollars=5_000_000_000)
            await client.ask(link.RestartRequest)
            await client.ask(link.ReleaseRequest)
        assert (await broker.as_("root").delete(f"/api/kernels/{kernel_id}")).status_code == 204
        entries = await log(broker)
    assert told(entries) == [
        ("create_kernel", "ada", "api"),
        ("attach", "ada", "link"),
        ("set_budget", "ada", "link"),
        ("restart_kernel", "ada", "link"),
        ("release", "ada", "link"),
        ("end_kernel", "root", "api"),
    ]
    assert {entry["user"] for entry in entries} == {"ada"}
    assert {entry["kernel_id"] for entry in entries} == {kernel_id}
    attach, budget, release = entries[1]["detail"], entries[2]["detail"], entries[4]["detail"]
    assert (attach["gpu"], attach["count"], attach["agent"], attach["simulated"]) == ("H100", 1, "host-a", True)
    assert budget == {"budget_nanodollars": 5_000_000_000}
    assert release["lease"] == attach["lease"]
    assert release["cost_nanodollars"] == (await broker.bill())["simulated_nanodollars"]


async def test_an_admin_at_somebody_elses_kernel_is_named(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel(user="ada")
        async with broker.client(kernel_id, user="root").connected() as client:
            await client.attach()
        entries = await log(broker)
    assert told(entries)[1] == ("attach", "root", "link")
    assert entries[1]["user"] == "ada"


async def test_another_user_sees_nothing_of_it(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel(user="ada")
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
        assert len(await log(broker, "ada")) == 2
        assert await log(broker, "bob") == []
    assert (await broker.as_("agent").get("/api/audit")).status_code == 403


async def test_an_idle_release_and_a_used_up_budget_are_rules(start: Start) -> None:
    async with start(idle_timeout_s=0.05) as broker, broker.agent().connected() as agent:
        idle = await broker.kernel()
        async with broker.client(idle).connected() as client:
            await client.attach()
            await client.became(KernelState.SUSPENDED)
        assert told(await log(broker))[-1] == ("release", "idle", "rule")
    async with start() as broker, broker.agent(id="agent-b", name="host-b").connected() as agent:
        poor = await broker.kernel(budget=1)
        async with broker.client(poor).connected() as client:
            await client.attach()
            lease_id, _ = agent.leases.pop(poor)
            await agent.say(
                control.Released(
                    request_id="",
                    kernel_id=poor,
                    incarnation=agent.kernels[poor],
                    kept=True,
                    reason="budget",
                    report=LeaseReport(lease_id=lease_id, starting_ms=1, busy_ms=2, idle_ms=3),
                )
            )
            await client.became(KernelState.SUSPENDED)
        assert told(await log(broker))[-1] == ("release", "budget", "rule")


async def test_a_process_that_ends_and_a_bind_that_fails_are_the_agents(broker: RunningBroker) -> None:
    async with broker.agent(refuse_binds="the disk is full").connected():
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            assert (await client.attach()).code == "attach_failed"
        entries = await log(broker)
    assert told(entries)[-1] == ("release", "host-a", "agent")
    assert entries[-1]["detail"]["why"] == "bind_failed"


async def test_a_deletion_ends_kernel_and_lease(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await broker.as_("root").delete(f"/api/kernels/{kernel_id}")
            await client.closed.wait()
        async with broker.client(await broker.kernel()).connected() as other:
            await other.attach()  # the GPU is free again: the first lease is closed
        entries = [entry for entry in await log(broker) if entry["kernel_id"] == kernel_id]
    assert told(entries)[2:] == [("end_kernel", "root", "api"), ("release", "root", "api")]
    assert entries[3]["user"] == "ada"


async def test_who_made_a_token_is_known_and_the_token_is_not(broker: RunningBroker) -> None:
    made = await broker.as_("root").post("/api/tokens", json={"role": "user", "name": "carol"})
    (entry,) = await log(broker)
    assert (entry["action"], entry["actor"], entry["via"]) == ("create_token", "root", "api")
    assert entry["detail"] == {"role": "user", "name": "carol"}
    whole = (await broker.as_("root").get("/api/audit")).text
    assert made.json()["token"] not in whole
    assert all(token not in whole for token in broker.tokens.values())
    by_command = [entry for entry in json.loads(whole)["entries"] if entry["via"] == "command"]
    assert {entry["detail"]["name"] for entry in by_command} == broker.tokens.keys()


async def test_since_limit_and_the_pages_before(broker: RunningBroker) -> None:
    for _ in range(3):
        await broker.kernel()
    first = (await broker.as_("ada").get("/api/audit", params={"limit": 2})).json()
    assert (len(first["entries"]), first["more"]) == (2, True)
    rest = await log(broker, "ada", before=first["entries"][-1]["seq"])
    assert len(rest) == 1
    assert await log(broker, "ada", since="2999-01-01") == []
    assert len(await log(broker, "ada", since="2020-01-01T00:00:00Z")) == 3
    for wrong in ({"limit": 0}, {"limit": 100_000}, {"since": "yesterday"}):
        assert (await broker.as_("ada").get("/api/audit", params=wrong)).status_code in (400, 422)


async def test_leases_that_were_open_when_the_broker_stopped_keep_their_trail(start: Start) -> None:
    async with start() as broker:
        agent = broker.agent()
        kernel_id = await broker.kernel()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.attach()
    async with start() as broker:
        agent.url = broker.url
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            await client.became(KernelState.ATTACHED)
            await client.ask(link.ReleaseRequest)
        assert told(await log(broker))[-2:] == [("attach", "ada", "link"), ("release", "ada", "link")]


async def test_agents_tokens_are_nobodys(broker: RunningBroker) -> None:
    """A user may have an agent's name, and still does not see its tokens."""
    await broker.as_("root").post("/api/tokens", json={"role": "agent", "name": "ada"})
    assert await log(broker, "ada") == []
    assert len(await log(broker)) == 1


@pytest.mark.parametrize("verb", ["DELETE FROM audit", "UPDATE audit SET actor = 'x'"])
async def test_the_audit_log_cannot_be_rewritten(broker: RunningBroker, verb: str) -> None:
    connection = sqlite3.connect(broker.settings.data_dir / "ledger.db")
    with contextlib.closing(connection), pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(verb)
