"""``/api/bill`` as its users ask for it: periods, breakdowns, some kernels only; and which notebook a kernel is of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from perijove.client.address import BrokerAddress
from perijove.client.http import BrokerClient
from perijove.wire import link
from perijove.wire.models import Bill

from .conftest import RunningBroker

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]
CONTRACT = {"currency", "total_nanodollars", "simulated_nanodollars", "leases"}
LEASE = {
    "id", "kernel", "user", "gpu", "count", "agent", "simulated", "opened_at", "closed_at", "starting_ms", "busy_ms",
    "idle_ms", "price_microdollars_per_second", "cost_nanodollars",
}  # fmt: skip


async def used(broker: RunningBroker, *kernel_ids: str, user: str = "ada") -> None:
    """Each has had the GPU, and given it back."""
    for kernel_id in kernel_ids:
        async with broker.client(kernel_id, user).connected() as client:
            assert (await client.attach()).code == ""
            assert (await client.ask(link.ReleaseRequest, end=True)).code == ""


def keys(bill: dict[str, Any]) -> list[str]:
    return [group["key"] for group in bill["groups"]]


async def test_the_document_is_the_contracts_and_groups_come_only_when_asked_for(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        await used(broker, await broker.kernel())
    plain, by_day = await broker.bill(), await broker.bill(by="day")
    assert plain.keys() >= CONTRACT
    assert not {"by", "groups"} & plain.keys()
    (lease,) = plain["leases"]
    assert lease.keys() == LEASE
    assert by_day["leases"] == plain["leases"]
    assert by_day["total_nanodollars"] == plain["total_nanodollars"]
    (group,) = by_day["groups"]
    assert group["key"] == lease["opened_at"][:10]
    assert group["simulated_nanodollars"] == plain["simulated_nanodollars"] == lease["cost_nanodollars"] > 0


async def test_a_bill_of_some_kernels_has_their_groups_only(broker: RunningBroker) -> None:
    mine, other = await broker.kernel(), await broker.kernel()
    async with broker.agent().connected():
        await used(broker, mine, other)
    assert sorted(keys(await broker.bill(by="kernel"))) == sorted([mine, other])
    assert keys(await broker.bill(by="kernel", kernel=[mine])) == [mine]
    async with BrokerClient(BrokerAddress(broker.url, broker.tokens["ada"])) as client:
        bill = await client.bill(kernels=[mine], by="kernel")
        assert [line.kernel for line in bill.leases] == [mine]
        assert bill.simulated_nanodollars == bill.groups[0].simulated_nanodollars == bill.leases[0].cost_nanodollars
        assert (await client.bill(kernels=[], by="day")).groups == []


async def test_what_was_said_of_a_notebook_is_its_users_and_the_admins_to_see(broker: RunningBroker) -> None:
    ada = await broker.kernel(notebook="/home/ada/secret.ipynb")
    bob = await broker.kernel(user="bob", notebook="/home/bob/own.ipynb")
    async with broker.agent().connected():
        await used(broker, ada)
        await used(broker, bob, user="bob")
    assert keys(await broker.bill("ada", by="notebook")) == ["/home/ada/secret.ipynb"]
    assert keys(await broker.bill("bob", by="notebook", kernel=[ada, bob])) == ["/home/bob/own.ipynb"]
    assert sorted(keys(await broker.bill("root", by="notebook"))) == ["/home/ada/secret.ipynb", "/home/bob/own.ipynb"]
    for path in ("/api/status", "/api/kernels", "/api/gpus", "/api/agents", "/api/leases", "/api/bill"):
        assert "secret" not in (await broker.as_("bob").get(path)).text


async def test_a_session_names_the_notebook_and_a_new_name_counts_from_the_next_lease_on(broker: RunningBroker) -> None:
    http = broker.as_("ada")
    made = (await http.post("/api/sessions", json={"path": "first.ipynb", "kernel": {"name": "perijove-h100"}})).json()
    kernel_id = made["kernel"]["id"]
    async with broker.agent().connected():
        await used(broker, kernel_id)
        changed = await http.patch(f"/api/sessions/{made['id']}", json={"path": "second.ipynb"})
        assert changed.status_code == 200
        await used(broker, kernel_id)
    groups = (await broker.bill(by="notebook"))["groups"]
    assert {group["key"] for group in groups} == {"first.ipynb", "second.ipynb"}
    assert all(group["simulated_nanodollars"] for group in groups)


async def test_a_kernel_that_was_there_before_its_session_is_named_by_it(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    wanted = {"path": "x" * 4000 + "/late.ipynb", "kernel": {"id": kernel_id}}
    assert (await broker.as_("ada").post("/api/sessions", json=wanted)).status_code == 201
    async with broker.agent().connected():
        await used(broker, kernel_id)
    (key,) = keys(await broker.bill(by="notebook"))
    assert key.startswith("…")
    assert key.endswith("/late.ipynb")


async def test_what_a_release_saves_is_counted_on_over_a_restart_and_ends_with_the_kernel(start: Start) -> None:
    async with start() as broker:
        kernel_id = await broker.kernel(notebook="a.ipynb")
        agent = broker.agent()
        async with agent.connected(), broker.client(kernel_id).connected() as client:
            for _ in range(2):
                await client.attach()
                await client.ask(link.ReleaseRequest)
                saved = (await broker.bill())["saved_simulated_nanodollars"]
                async with asyncio.timeout(5):  # a gap may be over within its first millisecond
                    while (await broker.bill())["saved_simulated_nanodollars"] == saved:
                        continue
        before = await broker.bill(by="notebook")
        assert before["saved_simulated_nanodollars"] > 0 == before["saved_nanodollars"]
    async with start() as broker:
        after = await broker.bill(by="notebook")
        assert after["saved_simulated_nanodollars"] >= before["saved_simulated_nanodollars"]
        assert keys(after) == ["a.ipynb"], "the notebook is known as well"
        view = (await broker.as_("ada").get(f"/api/kernels/{kernel_id}")).json()["perijove"]
        assert view["saved_simulated_nanodollars"] >= after["saved_simulated_nanodollars"]
        await broker.as_("ada").delete(f"/api/kernels/{kernel_id}")
        ended = await broker.bill()
        assert ended["saved_simulated_nanodollars"] < after["saved_simulated_nanodollars"], "nobody came back"
        assert ended["saved_simulated_nanodollars"] > 0


async def test_budgets_are_in_the_bill_of_whoever_has_them(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel(budget="0.50")
    (budget,) = (await broker.bill())["budgets"]
    assert budget == {
        "kernel": kernel_id,
        "user": "ada",
        "budget_nanodollars": 500_000_000,
        "spent_nanodollars": 0,
        "spent_simulated_nanodollars": 0,
        "left_nanodollars": 500_000_000,
    }
    assert (await broker.bill("bob"))["budgets"] == []
    assert (await broker.bill(kernel=["another"]))["budgets"] == []


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"since": "2026-11-02", "until": "2026-11-01"}, 400, "before it begins"),
        ({"until": "soon"}, 400, "write it like 2026-11-01"),
        ({"by": "week"}, 422, "by"),
        ({"kernel": ["k" * 65]}, 422, "kernel"),
    ],
)
async def test_what_cannot_be_asked_is_said(
    broker: RunningBroker, asked: dict[str, Any], status: int, said: str
) -> None:
    answer = await broker.as_("ada").get("/api/bill", params=asked)
    assert answer.status_code == status
    assert said in answer.json()["message"]


def test_the_bill_of_an_older_broker_is_read() -> None:
    bill = Bill.model_validate({"currency": "USD", "total_nanodollars": 5, "simulated_nanodollars": 0, "leases": []})
    assert (bill.as_of, bill.by, bill.groups, bill.saved_nanodollars) == ("", None, [], 0)
