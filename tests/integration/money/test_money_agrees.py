"""Money, in histories as hypothesis likes them: after every step each surface says what the ledger says, exactly.

Kernels attach, suspend, resume, run out of budget and end; agents vanish and prove late; the broker is killed, also
before it has written what it just did; the clock on the wall is set, forwards and back, over midnights and months; the
price book changes. What is on disk is added up here from plain rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from perijove.broker.api.money import get_bill, get_leases
from perijove.broker.core import instructions as do
from perijove.broker.core.clock import WallMs
from perijove.broker.core.policy import Policy
from perijove.broker.core.prices import Price, PriceBook
from perijove.broker.ledger import books
from perijove.broker.ledger.bill import BillRequest, Present, build_bill, iso
from perijove.broker.ledger.course import DAY_MS, Period
from perijove.broker.ledger.tokens import Identity, Role
from perijove.broker.live.kernel_board import KernelBoard
from perijove.broker.present import present_of
from perijove.cli.bill import write_csv
from perijove.wire.commands.bill import BYS
from perijove.wire.link import BudgetRequest, Goodbye, ReleaseRequest
from perijove.wire.models import Bill, BillGroup, Receipt
from sqlalchemy import Connection

from ...unit.broker.sim_agent import make_gpus
from ...unit.broker.sim_client import SimClient
from ...unit.broker.test_fleet_every_order import EveryOrder, index
from ...unit.broker.world import PRICES
from .accounts import AccountedWorld, cost_of

ROOT, ADA = Identity(Role.ADMIN, "root", ""), Identity(Role.USER, "ada", "")
DEARER = PriceBook("2026-12", "test", (Price("H100", 80, 2_111), Price("T4", 16, 167)), 23)
ENORMOUS = PriceBook("2027-01", "test", (Price("H100", 80, 3_000_000_000_000_017), Price("T4", 16, 1)), 1)
NEAR_A_MONTHS_END = WallMs(1_801_439_980_000)  # 20 s before 2027-02-01, UTC


Stint = tuple[int, PriceBook, int, str, str]
STINTS = st.tuples(
    index,
    st.sampled_from([PRICES, DEARER, ENORMOUS]),
    st.sampled_from([1, 4_700, 18_000, 130_000]),
    st.sampled_from(["nothing", "the clock goes back", "the clock goes on", "dies", "a day", "a budget"]),
    st.sampled_from(["release", "vanish", "dies", "process dies", "goodbye", "nothing"]),
)


class MoneyAgrees(EveryOrder):
    def __init__(self) -> None:
        super(EveryOrder, self).__init__()
        policy = Policy(home_wait_ms=30_000, home_away_wait_ms=20_000, abandon_after_ms=90 * DAY_MS)
        self.world: AccountedWorld = AccountedWorld(policy)
        self.world.set_wall_clock(NEAR_A_MONTHS_END - self.world.now.wall)
        self.world.agent("a", *make_gpus("a", "H100", 2))
        self.world.agent("b", *make_gpus("b", "H100", 1), *make_gpus("b", "T4", 1, simulated=True))
        self.budgets: dict[str, int] = {}

    # what happens, beside all that may happen to a fleet --------------------------------------------------------------

    @rule(by_ms=st.sampled_from([-40 * DAY_MS, -DAY_MS, -61_000, -1, 3_600_000, DAY_MS, 33 * DAY_MS]))
    def the_wall_clock_is_set(self, by_ms: int) -> None:
        self.world.set_wall_clock(by_ms)

    @rule(prices=st.sampled_from([PRICES, DEARER, ENORMOUS]))
    def prices_change(self, prices: PriceBook) -> None:
        self.world.prices = self.world.fleet.state.prices = prices

    @rule(stint=STINTS)
    def a_stint(self, stint: Stint) -> None:
        self.work(*stint)

    def work(self, choice: int, prices: PriceBook, ms: int, before: str, after: str) -> None:
        """A lease from its beginning to its end, with what may happen at both: single steps seldom get so far."""
        client = self._client(choice)
        if client is None:
            self.create("any", "ada", None)
            client = self._client(0)
            assert client is not None
        client.ask(ReleaseRequest)
        self.world.deliver_all()
        self.world.advance(2_000)
        self.prices_change(prices)
        match before:
            case "the clock goes back":
                self.world.set_wall_clock(-DAY_MS - 5_000)
            case "the clock goes on":
                self.world.set_wall_clock(9 * DAY_MS)
            case "dies":
                self.world.restart_broker()
                client.open()
            case "a budget":
                budget = 7_000 * DEARER.gpus[0].microdollars_per_second
                client.ask(BudgetRequest, nanodollars=budget)
                if (known := self.budgets.get(client.kernel_id)) is not None:
                    self.budgets[client.kernel_id] = max(known, budget)
            case "a day":
                self.world.advance(DAY_MS, renewing=False)
                if client.link_id is None:
                    return
        self.use(choice, True, ms)
        self._end_stint(client, after)

    def _end_stint(self, client: SimClient, how: str) -> None:
        world = self.world
        holders = [agent for agent in world.agents.values() if client.kernel_id in agent.processes]
        match how:
            case "release" if client.link_id is not None:
                client.ask(ReleaseRequest)
            case "goodbye" if client.link_id is not None:
                client.say(Goodbye())
            case "dies":
                self.the_broker_dies_with_renewals_unwritten()
            case "process dies" if holders:
                holders[0].process_dies(client.kernel_id)
            case "vanish" if holders:  # for longer than its allowance; it comes back and proves what it has counted
                holders[0].disconnect()
                world.advance(70_000)
                holders[0].connect()
        world.deliver_all()

    @rule()
    def the_broker_dies_with_renewals_unwritten(self) -> None:
        for agent in self.world.agents.values():
            agent.renew()
        self.world.deliver_all()
        self.world.restart_broker()

    @rule(choice=index)
    def the_broker_dies_before_it_has_written_a_lease(self, choice: int) -> None:
        client = self._client(choice)
        if client is None:
            return
        self.world.wait(self.world.broker.ledger.durable())
        self.world.writes = False
        self.world.attach(client)
        self.world.deliver_all()
        self.world.restart_broker()

    @rule(ms=st.sampled_from([90_000, DAY_MS, 3 * DAY_MS + 12_345]))
    def days_pass(self, ms: int) -> None:
        """In larger steps than usual: days of renewals each few seconds would take all the time there is."""
        self.world.advance(ms, renewing=ms < DAY_MS)

    # what always holds ------------------------------------------------------------------------------------------------

    def ask(self, request: BillRequest, present: Present | None = None) -> Bill:
        world = self.world
        if present is None:
            return world.wait(world.broker.bill(request))
        return world.wait(world.broker.ledger.call(lambda connection: build_bill(connection, present, request)))

    def the_bill_is_what_is_on_disk_and_open_leases_run_on(self) -> None:
        bill = self.ask(BillRequest())
        live = {k.lease.record.id: k.lease for k in self.world.fleet.kernels.values() if k.lease is not None}
        lines = {line.id: line for line in bill.leases}
        assert len(lines) == len(bill.leases)
        rows = self.world.rows()
        assert {row["id"] for row in rows} == lines.keys()
        for row in rows:
            line = lines[row["id"]]
            assert (row["closed_at"] is None) == (line.closed_at is None) == (row["id"] in live)
            if row["closed_at"] is not None:
                assert line.cost_nanodollars == cost_of(row)
                assert (line.starting_ms, line.busy_ms, line.idle_ms) == (
                    row["starting_ms"],
                    row["busy_ms"],
                    row["idle_ms"],
                )
            else:
                assert line.cost_nanodollars == live[row["id"]].cost_at(self.world.now.boot)
            assert line.price_microdollars_per_second == row["price_microdollars_per_second"], "locked when it opened"
        assert bill.total_nanodollars == sum(line.cost_nanodollars for line in bill.leases if not line.simulated)
        assert bill.simulated_nanodollars == sum(line.cost_nanodollars for line in bill.leases if line.simulated)
        assert bill.as_of == iso(self.world.books_now.wall)

    def a_live_cost_is_what_the_ledger_would_say_if_it_closed_now(self) -> None:
        world = self.world
        now = world.books_now
        present = present_of(world.fleet, now)

        def closed_now(connection: Connection) -> Bill:
            savepoint = connection.begin_nested()
            for lease in present.leases:
                books.apply(connection, do.CloseLease(lease.record.id, lease.durations, now.wall, True))
            bill = build_bill(connection, Present(now.wall, gaps=present.gaps), BillRequest(by="kernel"))
            savepoint.rollback()
            return bill

        closed, shown = world.wait(world.broker.ledger.call(closed_now)), self.ask(BillRequest(by="kernel"))
        assert closed.total_nanodollars == shown.total_nanodollars
        assert closed.simulated_nanodollars == shown.simulated_nanodollars
        assert closed.groups == shown.groups
        assert [line.model_copy(update={"closed_at": None}) for line in closed.leases] == [
            line.model_copy(update={"closed_at": None}) for line in shown.leases
        ]

    def breakdowns_add_up_to_the_bill(self) -> None:
        now = self.world.books_now.wall
        for period in (Period(), Period(WallMs(now - 70_000)), Period(WallMs(now - 2 * DAY_MS), WallMs(now - 5_000))):
            for by in BYS:
                bill = self.ask(BillRequest(period, by=by))
                assert bill.by == by
                assert_adds_up(bill)
                text = io.StringIO()
                write_csv(bill, text)
                assert_csv_is(list(csv.DictReader(io.StringIO(text.getvalue()))), bill)

    def each_day_is_the_bill_of_that_day(self) -> None:
        for group in self.ask(BillRequest(by="day")).groups:
            start = WallMs(_midnight(group.key))
            day = self.ask(BillRequest(Period(start, WallMs(start + DAY_MS)), by="gpu"))
            assert day.total_nanodollars == group.cost_nanodollars
            assert day.simulated_nanodollars == group.simulated_nanodollars
            assert day.saved_nanodollars == group.saved_nanodollars
            assert day.saved_simulated_nanodollars == group.saved_simulated_nanodollars

    def a_csv_of_leases_is_the_bill(self) -> None:
        bill, text = self.ask(BillRequest()), io.StringIO()
        write_csv(bill, text)
        rows = list(csv.DictReader(io.StringIO(text.getvalue())))
        assert [row["id"] for row in rows] == [line.id for line in bill.leases]
        real = sum(int(row["cost_nanodollars"]) for row in rows if row["simulated"] == "False")
        assert real == bill.total_nanodollars

    def gaps_are_those_on_disk_and_of_living_kernels_the_one_they_are_in(self) -> None:
        saved: Counter[str] = Counter()
        for row in self.world.rows():
            saved[row["kernel_id"]] += row["gap_ms"] * row["price_microdollars_per_second"] * row["count"]
        for kernel in self.world.fleet.living_kernels():
            if (gap := kernel.savings.gap) is not None:
                saved[kernel.id] += max(0, self.world.now.boot - gap.since) * gap.lease.nanodollars_per_ms
        bill = self.ask(BillRequest(by="kernel"))
        told = {group.key: group.saved_nanodollars + group.saved_simulated_nanodollars for group in bill.groups}
        assert {key: amount for key, amount in told.items() if amount} == {k: v for k, v in saved.items() if v}

    def what_kernels_are_told_is_the_bill_of_them(self) -> None:
        bill = self.ask(BillRequest(by="kernel"))
        groups = {group.key: group for group in bill.groups}
        budgets = {budget.kernel: budget for budget in bill.budgets}
        for kernel in self.world.fleet.living_kernels():
            view = self.world.fleet.view(kernel, self.world.now)
            group = groups.get(kernel.id, BillGroup(key=kernel.id))
            assert view.spent_nanodollars == group.cost_nanodollars + group.simulated_nanodollars
            assert view.spent_simulated_nanodollars == group.simulated_nanodollars
            assert view.saved_nanodollars == group.saved_nanodollars + group.saved_simulated_nanodollars
            assert view.saved_simulated_nanodollars == group.saved_simulated_nanodollars
            if view.lease is not None:
                (line,) = [line for line in bill.leases if line.id == view.lease.id]
                assert view.lease.cost_nanodollars == line.cost_nanodollars
            assert (kernel.id in budgets) == (view.budget_nanodollars is not None)
            if kernel.id in budgets:
                left = max(0, (view.budget_nanodollars or 0) - view.spent_nanodollars)
                assert budgets[kernel.id].left_nanodollars == left

    def the_live_page_is_the_bill_of_today_and_of_the_month(self) -> None:
        world, live = self.world, self.world.broker.live
        live._spending_due = 0.0
        world.wait(live._look_up_spending())
        today = WallMs(_midnight(iso(world.books_now.wall)[:10]))
        for period, since in (("today", today), ("month", world.fleet.month_began)):
            for whose in (None, "ada", "bob"):
                bill = self.ask(BillRequest(Period(since), user=whose, by="user"))
                groups = {group.key: group for group in bill.groups}
                told = live._spending_of(whose)[period]
                assert {user: (spent["real"], spent["simulated"]) for user, spent in told.items()} == {
                    user: (group.cost_nanodollars, group.simulated_nanodollars)
                    for user, group in groups.items()
                    if any(line.user == user for line in bill.leases)
                }
        kernels = KernelBoard(world.broker)  # of this very moment, not of a second
        mine = json.loads(kernels.mine(None, 0))
        assert {kernel["id"]: kernel["spent_nanodollars"] for kernel in mine["kernels"]} == {
            kernel.id: self.world.fleet.view(kernel, world.now).spent_nanodollars
            for kernel in world.fleet.living_kernels()
        }

    def metrics_have_counted_what_was_written_since_the_start(self) -> None:
        self.world.wait(self._flushed())
        written = Counter(self.world.stored())
        written.subtract(self.world.started)
        counted = self.world.broker.metrics.spent_nanodollars
        assert {key: amount for key, amount in written.items() if amount} == {
            key: amount for key, amount in counted.items() if amount
        }

    async def _flushed(self) -> None:
        await self.world.broker.ledger.durable()

    def the_api_says_the_same(self) -> None:
        world = self.world
        for identity in (ROOT, ADA):
            user = None if identity is ROOT else identity.name
            assert world.wait(get_bill(world.broker, identity, by="gpu")) == self.ask(BillRequest(user=user, by="gpu"))
            lines = {line.id: line for line in self.ask(BillRequest(user=user)).leases if line.closed_at is None}
            leases = world.wait(get_leases(world.broker, identity))
            assert {lease["id"] for lease in leases} == lines.keys()
            for lease in leases:
                assert lease["cost_nanodollars"] == lines[lease["id"]].cost_nanodollars

    def a_receipt_is_the_bill_of_its_kernels(self) -> None:
        for kernel in self.world.fleet.living_kernels():
            bill = self.ask(BillRequest(kernels=frozenset({kernel.id})))
            receipt = Receipt.of(bill)
            assert receipt.total_nanodollars == bill.total_nanodollars
            assert receipt.simulated_nanodollars == bill.simulated_nanodollars
            assert self.ask(BillRequest()).of_kernels([kernel.id]).leases == bill.leases

    @invariant()
    def everything_agrees(self) -> None:
        self.the_bill_is_what_is_on_disk_and_open_leases_run_on()
        self.a_live_cost_is_what_the_ledger_would_say_if_it_closed_now()
        self.breakdowns_add_up_to_the_bill()
        self.each_day_is_the_bill_of_that_day()
        self.a_csv_of_leases_is_the_bill()
        self.gaps_are_those_on_disk_and_of_living_kernels_the_one_they_are_in()
        self.what_kernels_are_told_is_the_bill_of_them()
        self.the_live_page_is_the_bill_of_today_and_of_the_month()
        self.metrics_have_counted_what_was_written_since_the_start()
        self.the_api_says_the_same()
        self.a_receipt_is_the_bill_of_its_kernels()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.world.close()


def assert_adds_up(bill: Bill) -> None:
    def total(name: str) -> int:
        return sum(getattr(group, name) for group in bill.groups)

    assert total("cost_nanodollars") == bill.total_nanodollars
    assert total("simulated_nanodollars") == bill.simulated_nanodollars
    assert total("saved_nanodollars") == bill.saved_nanodollars
    assert total("saved_simulated_nanodollars") == bill.saved_simulated_nanodollars
    for name in ("starting_ms", "busy_ms", "idle_ms"):
        assert total(name) == sum(getattr(line, name) for line in bill.leases)
    for group in bill.groups:
        assert min(group.starting_ms, group.busy_ms, group.idle_ms, group.saved_nanodollars) >= 0
        assert sum(group.cost_by_phase.model_dump().values()) == group.cost_nanodollars
        assert sum(group.simulated_by_phase.model_dump().values()) == group.simulated_nanodollars


def assert_csv_is(rows: list[dict[str, Any]], bill: Bill) -> None:
    assert [row["key"] for row in rows] == [group.key for group in bill.groups]
    for column in ("cost_nanodollars", "simulated_nanodollars", "starting_ms", "busy_ms", "idle_ms"):
        assert [int(row[column]) for row in rows] == [getattr(group, column) for group in bill.groups]


def _midnight(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.timeout(400)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STINTS, min_size=6, max_size=12))
def test_money_agrees_in_stint_after_stint(stints: list[Stint]) -> None:
    """Many leases, one after the other: the histories below are wider, and often shorter."""
    history = MoneyAgrees()
    try:
        for stint in stints:
            history.work(*stint)
            history.everything_agrees()
    finally:
        history.world.close()


MoneyAgrees.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMoneyAgrees = pytest.mark.timeout(400)(MoneyAgrees.TestCase)
