"""Every order of events: agents, clients, the network and the broker itself come, go and fail as hypothesis likes.

What must hold at every step is asserted by the world; what must hold once all messages have arrived, at the end.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from perijove.broker.core.lease import HOLDS_GPU
from perijove.broker.core.policy import Policy
from perijove.wire import link
from perijove.wire.control import LIMIT_GRACE_MS
from perijove.wire.models import KernelState

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World

MOST_KERNELS = 5
index = st.integers(0, 10_000)
DEAREST = 2 * 1097  # nano-dollars per millisecond: two H100s
respecs = st.sampled_from(["H100", "H100:2", "T4", "T4|H100", "any", "40GB", "cpu", "B200", "nonsense?"])
budgets = st.sampled_from([None, *(seconds * 1_000 * 1097 for seconds in (0, 2, 10, 40, 100))])


class EveryOrder(RuleBasedStateMachine):
    world_of: Callable[[Policy], World] = World

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_of(Policy(home_wait_ms=30_000, home_away_wait_ms=20_000))
        self.world.agent("a", *make_gpus("a", "H100", 2))
        self.world.agent("b", *make_gpus("b", "H100", 1), *make_gpus("b", "T4", 1))
        self.budgets: dict[str, int] = {}  # of kernels that have had one from the beginning on

    def _client(self, choice: int) -> SimClient | None:
        linked = [client for client in self.world.clients.values() if client.link_id is not None]
        return linked[choice % len(linked)] if linked else None

    # clients

    @precondition(lambda self: len(self.world.fleet.living_kernels()) < MOST_KERNELS)
    @rule(
        spec=st.sampled_from(["H100", "H100:2", "T4|H100", "any", "cpu", "B200"]),
        user=st.sampled_from(["ada", "bob"]),
        budget=budgets,
    )
    def creation(self, spec: str, user: str, budget: int | None) -> None:
        self.create(spec, user, budget)

    def create(self, spec: str, user: str, budget: int | None) -> None:
        client = self.world.kernel(spec, user, budget=budget)
        if budget is not None:
            self.budgets[client.kernel_id] = budget

    @rule(choice=index)
    def attach(self, choice: int) -> None:
        if client := self._client(choice):
            self.world.attach(client)

    @initialize(spec=st.sampled_from(["H100", "any"]), budget=budgets)
    def begin(self, spec: str, budget: int | None) -> None:
        self.create(spec, "ada", budget)
        self.use(0, True, 700)

    @rule(choice=index, busy=st.booleans(), ms=st.sampled_from([0, 700, 6_000, 30_000]))
    def usage(self, choice: int, busy: bool, ms: int) -> None:
        self.use(choice, busy, ms)

    def use(self, choice: int, busy: bool, ms: int) -> None:
        """What happens most: a GPU is there and is used for a while. Single steps alone would seldom get so far."""
        client = self._client(choice)
        if client is None:
            return
        for agent in self.world.agents.values():
            if agent.link_id is None:
                agent.connect()
        self.world.attach(client)
        self.world.deliver_all()
        for agent in self.world.agents.values():
            if client.kernel_id in agent.processes and agent.processes[client.kernel_id].lease_id:
                agent.turn(client.kernel_id, busy=busy)
        self.world.advance(ms)

    @rule(choice=index)
    def cancel(self, choice: int) -> None:
        client = self._client(choice)
        if client and (waiting := sorted(self.world.attach_ids & client.asked.keys())):
            client.say(link.CancelRequest(request_id=waiting[0]))

    @rule(choice=index, end=st.booleans())
    def release(self, choice: int, end: bool) -> None:
        if client := self._client(choice):
            client.ask(link.ReleaseRequest, end=end)

    @rule(choice=index)
    def restart(self, choice: int) -> None:
        if client := self._client(choice):
            client.ask(link.RestartRequest)

    @rule(choice=index, spec=respecs)
    def attach_another(self, choice: int, spec: str) -> None:
        if client := self._client(choice):
            self.world.attach(client, spec)

    @rule(choice=index, spec=respecs)
    def restart_on_another(self, choice: int, spec: str) -> None:
        if client := self._client(choice):
            client.ask(link.RestartRequest, gpu=spec)

    @rule(choice=index)
    def goodbye(self, choice: int) -> None:
        if client := self._client(choice):
            client.say(link.Goodbye())

    @rule(choice=index, more=st.sampled_from([0, 3_000 * 1097, 30_000 * 1097]))
    def raise_budget(self, choice: int, more: int) -> None:
        client = self._client(choice)
        if client and client.kernel_id in self.budgets:
            self.budgets[client.kernel_id] += more
            client.ask(link.BudgetRequest, nanodollars=self.budgets[client.kernel_id])

    @rule(choice=index, budget=budgets)
    def change_budget(self, choice: int, budget: int | None) -> None:
        client = self._client(choice)
        if client and client.kernel_id not in self.budgets:
            client.ask(link.BudgetRequest, nanodollars=budget)

    @rule(choice=index, seconds=st.sampled_from([1, 600]))
    def keep(self, choice: int, seconds: int) -> None:
        if client := self._client(choice):
            client.ask(link.KeepRequest, seconds=seconds)

    @rule(choice=index, busy=st.booleans())
    def local_activity(self, choice: int, busy: bool) -> None:
        if client := self._client(choice):
            client.say(link.LocalActivity(busy=busy))

    @rule(choice=index)
    def client_leaves(self, choice: int) -> None:
        if client := self._client(choice):
            client.close()

    @rule(choice=index)
    def client_comes(self, choice: int) -> None:
        known = [c for c in self.world.clients.values() if self.world.fleet.kernel(c.kernel_id)]
        if known:
            known[choice % len(known)].open()

    # agents

    @rule(which=st.sampled_from(["a", "b"]))
    def agent_takes_one(self, which: str) -> None:
        agent = self.world.agents[which]
        if agent.inbox:
            agent.take_one()

    @rule(which=st.sampled_from(["a", "b"]))
    def broker_hears_one(self, which: str) -> None:
        self.world.deliver_from(self.world.agents[which])

    @rule()
    def all_arrives(self) -> None:
        self.world.deliver_all()

    @rule(which=st.sampled_from(["a", "b"]))
    def agent_reconnects(self, which: str) -> None:
        self.world.agents[which].connect()

    @rule(which=st.sampled_from(["a", "b"]))
    def agent_is_cut_off(self, which: str) -> None:
        self.world.agents[which].disconnect()

    @rule(which=st.sampled_from(["a", "b"]))
    def agent_crashes(self, which: str) -> None:
        self.world.agents[which].crash()

    @rule(which=st.sampled_from(["a", "b"]))
    def bind_will_fail(self, which: str) -> None:
        self.world.agents[which].fails_next_bind = True

    @rule(which=st.sampled_from(["a", "b"]), choice=index, busy=st.booleans(), keepable=st.booleans())
    def kernel_turns(self, which: str, choice: int, busy: bool, keepable: bool) -> None:
        agent = self.world.agents[which]
        running = [kernel_id for kernel_id, process in agent.processes.items() if process.lease_id]
        if running:
            kernel_id = running[choice % len(running)]
            agent.processes[kernel_id].keepable = keepable
            agent.turn(kernel_id, busy=busy)

    @rule(which=st.sampled_from(["a", "b"]), choice=index)
    def process_dies(self, which: str, choice: int) -> None:
        agent = self.world.agents[which]
        if agent.processes:
            agent.process_dies(sorted(agent.processes)[choice % len(agent.processes)])

    # those who run it

    @rule(which=st.sampled_from(["a", "b"]), within_ms=st.sampled_from([None, 0, 700, 16_000]))
    def drain(self, which: str, within_ms: int | None) -> None:
        self.world.drain(which, within_ms)

    @rule(which=st.sampled_from(["a", "b"]))
    def undo_drain(self, which: str) -> None:
        self.world.undo_drain(which)

    @rule(which=st.sampled_from(["a", "b"]), draining=st.booleans())
    def agent_asks_for_drain(self, which: str, draining: bool) -> None:
        self.world.agents[which].ask_for_drain(draining=draining)

    # time, and the broker itself

    @rule(ms=st.sampled_from([1, 700, 5_000, 16_000, 61_000, 66_000, 130_000]), renewing=st.booleans())
    def time_passes(self, ms: int, renewing: bool) -> None:
        self.world.advance(ms, renewing=renewing)

    @rule()
    def broker_restarts(self) -> None:
        self.world.restart_broker()

    # what always holds

    @invariant()
    def leases_and_states_agree(self) -> None:
        for kernel in self.world.fleet.living_kernels():
            assert (kernel.lease is not None) == (kernel.state in HOLDS_GPU), kernel
            assert kernel.state is not KernelState.SUSPENDED or kernel.incarnation is not None
            assert kernel.state is not KernelState.DETACHED or kernel.incarnation is None
        open_leases = {k.lease.record.id for k in self.world.fleet.kernels.values() if k.lease is not None}
        assert open_leases == self.world.ledger.open.keys()

    @invariant()
    def a_lease_that_is_not_wanted_as_it_is_ends(self) -> None:
        for kernel in self.world.fleet.living_kernels():
            assert kernel.respec_wish is None or kernel.lease is not None

    @invariant()
    def nobody_pays_more_than_a_second_over_the_budget(self) -> None:
        for kernel_id, budget in self.budgets.items():
            assert self.world.ledger.spent(kernel_id)[0] <= budget + LIMIT_GRACE_MS * DEAREST

    @invariant()
    def what_was_spent_is_what_the_ledger_says(self) -> None:
        for kernel in self.world.fleet.living_kernels():
            assert kernel.account.spent == self.world.ledger.spent(kernel.id, closed_only=True)[0]

    @invariant()
    def clients_know_the_state(self) -> None:
        for client in self.world.clients.values():
            kernel = self.world.fleet.kernel(client.kernel_id)
            if client.link_id is not None and kernel is not None and kernel.link_id == client.link_id:
                assert client.view is not None
                assert client.view.state is kernel.state
                assert client.view.incarnation == kernel.incarnation

    @invariant()
    def kernels_know_of_their_agents_drain(self) -> None:
        drains = self.world.fleet.state.drains
        for kernel in self.world.fleet.living_kernels():
            assert kernel.drain == drains.get(kernel.agent_id or "")

    @invariant()
    def the_ledger_knows_the_drains_that_are_to_last(self) -> None:
        lasting = {agent: drain.record for agent, drain in self.world.fleet.state.drains.items() if drain.record}
        assert lasting == self.world.ledger.drains

    @invariant()
    def only_attached_kernels_are_reached(self) -> None:
        for kernel_id, route in self.world.routes.items():
            kernel = self.world.fleet.kernel(kernel_id)
            assert kernel is not None
            assert not route.open or kernel.state is KernelState.ATTACHED
            assert route.incarnation == kernel.incarnation

    def teardown(self) -> None:
        """When everyone is there and everything has arrived, nothing is left open that nobody wants."""
        for agent in self.world.agents.values():
            agent.fails_next_bind = False
            agent.connect()
        self.world.advance(10_000)
        self._nothing_idle_is_left_where_it_drains()
        for client in self.world.clients.values():
            kernel = self.world.fleet.kernel(client.kernel_id)
            waiting = self.world.attach_ids & client.asked.keys()
            if waiting:
                assert kernel is not None
                assert kernel.state is KernelState.QUEUED, "an attach without an answer"
                assert kernel.queue_reason
            assert not client.asked.keys() - waiting, "a release or restart without an answer"
            if client.link_id is not None:
                client.say(link.Goodbye())
            elif kernel is not None:
                client.open()
                client.say(link.Goodbye())
        self.world.deliver_all()
        assert not self.world.fleet.kernels, "a kernel outlived its goodbye"
        assert not self.world.ledger.open, "a lease outlived its kernel"
        assert not self.world.fleet.state.holds
        assert not any(agent.processes for agent in self.world.agents.values()), "a process outlived its kernel"
        assert not self.world.ledger.kernels

    def _nothing_idle_is_left_where_it_drains(self) -> None:
        """Once more is over than a drain waits, only what runs, or would lose its variables, is there still."""
        for kernel in self.world.fleet.living_kernels():
            if kernel.drain is None or kernel.lease is None or kernel.local_busy_since is not None:
                continue
            assert kernel.busy or not kernel.keepable
            assert kernel.drain.release_at is None or kernel.drain.release_at > self.world.now.boot


EveryOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEveryOrder = EveryOrder.TestCase
