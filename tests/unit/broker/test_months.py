"""Months and users' money in the real books: what the bill says since the first of a month is what budgets count.

A world of agents and clients plays any history; what the core says to the ledger goes into SQLite, too (in memory), and
a broker that is started again knows only what is there.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from perijove.broker.broker import known_at
from perijove.broker.core import instructions as do
from perijove.broker.core.calendar import month_after, month_of
from perijove.broker.core.clock import BootMs, Now, WallMs
from perijove.broker.core.fleet import Fleet
from perijove.broker.core.policy import Policy
from perijove.broker.ledger import books, months
from perijove.broker.ledger.bill import BillRequest, Present, build_bill
from perijove.broker.ledger.course import Period
from perijove.broker.ledger.tables import lease_events, metadata
from perijove.broker.present import present_of
from perijove.wire import link
from perijove.wire.models import BudgetScope
from sqlalchemy import Connection, create_engine, select

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import PRICES, World

NOVEMBER = month_of(WallMs(1_793_500_000_000))
DECEMBER = month_after(NOVEMBER)
AGENTS = ("a", "b")


class BookedWorld(World):
    def __init__(self, before_month_ends_ms: int) -> None:
        engine = create_engine("sqlite://")
        metadata.create_all(engine)
        self.connection: Connection = engine.connect()
        super().__init__(Policy(), Now(BootMs(1_000_000), WallMs(DECEMBER - before_month_ends_ms)))
        months.open_month_of(self.connection, self.now.wall)

    def carry_out(self, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.LedgerInstruction):
            books.apply(self.connection, instruction)
        super().carry_out(instruction)

    def restart_broker(self) -> None:
        """From the books alone."""
        super().restart_broker()
        self.fleet = Fleet(self.policy, PRICES, self.new_id, self.now, "1")
        for instruction in self.fleet.restore(*known_at(self.connection, self.now.wall), self.now):
            self.carry_out(instruction)

    def spent(self, user: str, since: WallMs | None, *, simulated: bool) -> int:
        """What the bill says."""
        present = present_of(self.fleet, self.fleet.steady(self.now))
        bill = build_bill(self.connection, present, BillRequest(Period(since), user=user))
        return bill.simulated_nanodollars if simulated else bill.total_nanodollars


class EveryMonth(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = BookedWorld(before_month_ends_ms=100_000)
        self.world.agent("a", *make_gpus("a", "H100", 1))
        self.world.agent("b", *make_gpus("b", "T4", 2, simulated=True))
        self.kernels = [self.world.kernel(spec, user) for user in ("ada", "bob") for spec in ("H100", "T4")]

    @rule(choice=st.integers(0, 3), busy=st.booleans())
    def attach(self, choice: int, busy: bool) -> None:
        client = self._open(choice)
        self.world.attach(client)
        self.world.deliver_all()
        for agent in self.world.agents.values():
            if client.kernel_id in agent.processes:
                agent.turn(client.kernel_id, busy=busy)

    @rule(choice=st.integers(0, 3))
    def release(self, choice: int) -> None:
        self._open(choice).ask(link.ReleaseRequest)
        self.world.deliver_all()

    def _open(self, choice: int) -> SimClient:
        client = self.kernels[choice]
        if client.link_id is None:
            client.open()
        return client

    @rule(ms=st.sampled_from([300, 4_000, 20_000, 70_000]), renewing=st.booleans())
    def time_passes(self, ms: int, renewing: bool) -> None:
        self.world.advance(ms, renewing=renewing)

    @rule()
    def all_arrives(self) -> None:
        self.world.deliver_all()

    @rule(which=st.sampled_from(AGENTS))
    def agent_connects(self, which: str) -> None:
        self.world.agents[which].connect()

    @rule(which=st.sampled_from(AGENTS), ms=st.sampled_from([3_000, 30_000, 70_000]))
    def agent_is_cut_off(self, which: str, ms: int) -> None:
        self.world.agents[which].disconnect()
        self.world.advance(ms)

    @rule()
    def broker_restarts(self) -> None:
        self.world.restart_broker()

    @rule(ms=st.sampled_from([-7_200_000, -20_000, 20_000, 7_200_000]))
    def clock_steps(self, ms: int) -> None:
        self.world.clock_steps(ms)

    @invariant()
    def the_bill_and_the_budgets_count_the_same(self) -> None:
        world = self.world
        month = world.fleet.state.calendar.month
        for user, simulated in itertools.product(("ada", "bob"), (False, True)):
            purse = world.fleet.purses[user]
            for scope, since in ((BudgetScope.USER, None), (BudgetScope.MONTH, month)):
                counted = purse.spent_at(scope, world.now.boot, simulated=simulated)
                assert counted == world.spent(user, since, simulated=simulated), (user, scope, simulated)

    def teardown(self) -> None:
        self.world.connection.close()


EveryMonth.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEveryMonth = EveryMonth.TestCase


def running_over_the_month(before_ms: int = 30_000) -> tuple[BookedWorld, SimClient]:
    world = BookedWorld(before_ms)
    world.agent("a", *make_gpus("a", "H100", 1))
    client = world.attached()
    world.agents["a"].turn(client.kernel_id, busy=True)
    world.advance(before_ms + 10_000)
    return world, client


def test_a_month_leaves_one_checkpoint_at_its_beginning() -> None:
    world, _ = running_over_the_month()
    rows = world.connection.execute(select(lease_events).where(lease_events.c.kind == "month")).mappings().all()
    (row,) = rows
    assert row["at"] == DECEMBER
    assert 25_000 <= row["idle_ms"] <= 30_000
    assert world.spent("ada", DECEMBER, simulated=False) == 1097 * (40_000 - row["idle_ms"])
    assert world.spent("ada", None, simulated=False) == 1097 * 40_000


def test_a_month_that_began_while_no_broker_ran_is_opened_at_its_start() -> None:
    world = BookedWorld(20_000)
    world.agent("a", *make_gpus("a", "H100", 1))
    client = world.attached()
    world.advance(10_000)
    world.agents["a"].disconnect()
    world.now = Now(BootMs(world.now.boot + 20_000), WallMs(world.now.wall + 20_000))
    world.restart_broker()
    client.open()
    world.agents["a"].connect()
    assert months.open_month_of(world.connection, world.now.wall) == DECEMBER
    assert world.spent("ada", DECEMBER, simulated=False) == 1097 * 20_000
    purse = world.fleet.purses["ada"]
    assert purse.spent_at(BudgetScope.MONTH, world.now.boot, simulated=False) == 1097 * 20_000


def test_a_broker_that_is_started_with_an_older_clock_opens_no_month_anew() -> None:
    world, _ = running_over_the_month()
    spent = world.spent("ada", DECEMBER, simulated=False)
    world.clock_steps(-3_600_000)
    world.restart_broker()
    assert world.fleet.state.calendar.month == DECEMBER
    assert world.fleet.purses["ada"].spent(BudgetScope.MONTH, simulated=False) == spent
    assert len(world.connection.execute(select(lease_events).where(lease_events.c.kind == "month")).all()) == 1


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_lease_that_proves_more_in_a_new_month_ends_in_it(confirmed: bool) -> None:
    world, client = running_over_the_month()
    lease = next(iter(world.ledger.open.values()))
    proven = replace(lease.durations, idle_ms=lease.durations.idle_ms + 1_000)
    books.apply(world.connection, do.RenewLease(lease.id, proven, WallMs(DECEMBER - 5)))
    books.apply(world.connection, do.CloseLease(lease.id, proven, WallMs(DECEMBER - 3), confirmed))
    bill = build_bill(world.connection, Present(world.now.wall), BillRequest(Period(DECEMBER)))
    (line,) = bill.leases
    assert line.closed_at == "2026-12-01T00:00:00.001Z"
    assert client.kernel_id == line.kernel
