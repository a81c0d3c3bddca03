"""A user's budgets in every order: kernels on several agents, links that break, agents and a broker that die, months
that begin, a clock that steps. Whatever happens, nobody spends more than the limit and a second's price for each lease.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from perijove.broker.core.calendar import month_after, month_of
from perijove.broker.core.clock import BootMs, Now, WallMs
from perijove.broker.core.policy import Policy
from perijove.wire import link
from perijove.wire.control import LIMIT_GRACE_MS
from perijove.wire.models import BudgetScope, SetBy

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World

MOST_KERNELS = 4
AGENTS = ("a", "b", "c")
USERS = ("ada", "bob")
H100_MS = 1097
SPECS = ("H100", "T4|H100", "B200", "H100:2")
index = st.integers(0, 10_000)
agents = st.sampled_from(AGENTS)
users = st.sampled_from(USERS)
scopes = st.sampled_from([BudgetScope.USER, BudgetScope.MONTH])
amounts = st.sampled_from([seconds * 1_000 * H100_MS for seconds in (3, 20, 60, 150)])


class LimitsInEveryOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        wall = WallMs(month_after(month_of(WallMs(1_800_000_000_000))) - 200_000)  # a month begins soon
        policy = Policy(home_wait_ms=30_000, home_away_wait_ms=20_000)
        self.world = World(policy, Now(BootMs(1_000_000), wall))
        self.world.agent("a", *make_gpus("a", "H100", 2))
        self.world.agent("b", *make_gpus("b", "H100", 1), *make_gpus("b", "T4", 1))
        self.world.agent("c", *make_gpus("c", "B200", 2, simulated=True))
        self.limits: dict[tuple[str, BudgetScope], int] = {}  # those that have only ever been raised

    @initialize(ever=amounts, month=amounts, kernels=st.integers(1, 4), ms=st.sampled_from([700, 6_000, 30_000]))
    def begin(self, ever: int, month: int, kernels: int, ms: int) -> None:
        """Limits that are there from the beginning on: only they are sure never to have been lowered."""
        for user in USERS:
            for scope, amount in ((BudgetScope.USER, 2 * ever), (BudgetScope.MONTH, month)):
                self.limits[user, scope] = amount
                self.world.limit(user, scope, amount, SetBy.ADMIN)
        for number in range(kernels):
            self.world.kernel(SPECS[number], "ada")
        self.run_all(ms)

    def _client(self, choice: int) -> SimClient | None:
        linked = [client for client in self.world.clients.values() if client.link_id is not None]
        return linked[choice % len(linked)] if linked else None

    # people

    @precondition(lambda self: len(self.world.fleet.living_kernels()) < MOST_KERNELS)
    @rule(spec=st.sampled_from(SPECS), user=users)
    def creation(self, spec: str, user: str) -> None:
        self.world.kernel(spec, user)

    @rule(ms=st.sampled_from([0, 700, 6_000, 30_000]))
    def all_run(self, ms: int) -> None:
        self.run_all(ms)

    def run_all(self, ms: int) -> None:
        """What happens most: everybody is there and runs cells for a while. Single steps would seldom get so far."""
        for agent in self.world.agents.values():
            if agent.link_id is None:
                agent.connect()
        for client in self.world.clients.values():
            if self.world.fleet.kernel(client.kernel_id) is not None:
                if client.link_id is None:
                    client.open()
                self.world.attach(client)
        self.world.deliver_all()
        for agent in self.world.agents.values():
            for kernel_id in [kernel_id for kernel_id, process in agent.processes.items() if process.lease_id]:
                agent.turn(kernel_id, busy=True)
        self.run_on(ms)

    def run_on(self, ms: int) -> None:
        for _ in range(0, ms, 3_000):
            self.world.advance(min(ms, 3_000))

    @rule(choice=index)
    def attach(self, choice: int) -> None:
        if client := self._client(choice):
            self.world.attach(client)

    @rule(choice=index, end=st.booleans())
    def release(self, choice: int, end: bool) -> None:
        if client := self._client(choice):
            client.ask(link.ReleaseRequest, end=end)

    @rule(choice=index)
    def client_comes(self, choice: int) -> None:
        known = [c for c in self.world.clients.values() if self.world.fleet.kernel(c.kernel_id)]
        if known:
            known[choice % len(known)].open()

    @rule(user=users, scope=scopes, more=st.sampled_from([3_000 * H100_MS, 30_000 * H100_MS]))
    def an_admin_raises(self, user: str, scope: BudgetScope, more: int) -> None:
        self.limits[user, scope] += more
        self.world.limit(user, scope, self.limits[user, scope], SetBy.ADMIN)

    @rule(user=users, scope=scopes, amount=st.none() | amounts)
    def a_user_sets_their_own(self, user: str, scope: BudgetScope, amount: int | None) -> None:
        if amount is not None or (user, scope, SetBy.USER) in self.world.ledger.limits:
            self.world.limit(user, scope, amount)

    # agents, the network, the broker, time

    @rule(which=agents)
    def agent_takes_one(self, which: str) -> None:
        if self.world.agents[which].inbox:
            self.world.agents[which].take_one()

    @rule(which=agents)
    def broker_hears_one(self, which: str) -> None:
        self.world.deliver_from(self.world.agents[which])

    @rule()
    def all_arrives(self) -> None:
        self.world.deliver_all()

    @rule(which=agents)
    def agent_reconnects(self, which: str) -> None:
        self.world.agents[which].connect()

    @rule(which=agents)
    def agent_is_cut_off(self, which: str) -> None:
        self.world.agents[which].disconnect()

    @rule(which=agents, ms=st.sampled_from([21_000, 72_000]))
    def agent_is_away_for_a_while(self, which: str, ms: int) -> None:
        """Long enough for its kernels to count as gone, and for others to use what money there is."""
        self.world.agents[which].disconnect()
        self.run_on(ms)

    @rule(which=agents)
    def agent_crashes(self, which: str) -> None:
        self.world.agents[which].crash()

    @rule()
    def broker_restarts(self) -> None:
        self.world.restart_broker()

    @rule(ms=st.sampled_from([1, 700, 5_000, 16_000, 66_000, 130_000]), renewing=st.booleans())
    def time_passes(self, ms: int, renewing: bool) -> None:
        self.world.advance(ms, renewing=renewing)

    @rule(ms=st.sampled_from([-86_400_000, -30_000, 30_000, 86_400_000]))
    def clock_steps(self, ms: int) -> None:
        self.world.clock_steps(ms)

    # what always holds

    @invariant()
    def nobody_spends_more_than_a_second_over_for_each_lease(self) -> None:
        for (user, scope), limit in self.limits.items():
            for simulated in (False, True):
                spent = self.world.ledger.spent_by(user, scope, simulated=simulated)
                assert spent <= limit + self._grace(user, simulated), (user, scope, simulated)

    def _grace(self, user: str, simulated: bool) -> int:
        leases = [*self.world.ledger.open.values(), *(lease for lease, _, _ in self.world.ledger.closed.values())]
        mine = [lease for lease in leases if lease.user == user and lease.simulated == simulated]
        return sum(LIMIT_GRACE_MS * lease.nanodollars_per_ms for lease in mine)

    @invariant()
    def nothing_is_granted_twice(self) -> None:
        """What is proven, and what agents would still let run on what they were told, is within the limit."""
        for (user, scope), limit in self.limits.items():
            for simulated in (False, True):
                proven = self.world.ledger.spent_by(user, scope, simulated=simulated)
                ahead = sum(
                    max(0, process.limit_ms - lease.durations.total_ms) * lease.nanodollars_per_ms
                    for agent in self.world.agents.values()
                    for process in agent.processes.values()
                    if (lease := self.world.ledger.open.get(process.lease_id)) is not None
                    and (lease.user, lease.simulated) == (user, simulated)
                    and process.limit_ms is not None
                )
                assert proven + ahead <= limit + self._grace(user, simulated)

    @invariant()
    def every_lease_of_a_limited_user_is_limited(self) -> None:
        for agent in self.world.agents.values():
            for process in agent.processes.values():
                assert not process.lease_id or process.limit_ms is not None

    @invariant()
    def what_was_spent_is_what_the_ledger_says(self) -> None:
        for user, purse in self.world.fleet.purses.items():
            for simulated in (False, True):
                for scope in (BudgetScope.USER, BudgetScope.MONTH):
                    booked = self.world.ledger.spent_by(user, scope, simulated=simulated, closed_only=True)
                    assert purse.tally(simulated=simulated).of(scope) == booked

    @invariant()
    def open_leases_draw_on_their_users_purse(self) -> None:
        drawn = {lease_id for purse in self.world.fleet.purses.values() for lease_id in purse.leases}
        assert drawn == self.world.ledger.open.keys()

    def teardown(self) -> None:
        for agent in self.world.agents.values():
            agent.connect()
        self.world.advance(130_000)
        self.nobody_spends_more_than_a_second_over_for_each_lease()
        for purse in self.world.fleet.purses.values():
            assert not purse.held_back, "every agent is back, and has said what there was to say"


LimitsInEveryOrder.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLimitsInEveryOrder = LimitsInEveryOrder.TestCase
