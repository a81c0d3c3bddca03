"""A small world around the core: agents, clients, a ledger and a network that delays and cuts, all without I/O.

Messages wait in queues until the test delivers them, so every order of crossing is reachable. What the world asserts by
itself: links are only used while open, leases open and close once, no GPU has two, and nobody gets a GPU unasked.
"""

from __future__ import annotations

from dataclasses import replace

from perijove.broker.core import instructions as do
from perijove.broker.core.calendar import month_of
from perijove.broker.core.clock import BootMs, Now, WallMs
from perijove.broker.core.events import (
    AgentSaid,
    DrainAsked,
    DrainUndone,
    FleetEvent,
    KernelCreated,
    LimitSet,
    Tick,
)
from perijove.broker.core.fleet import Fleet
from perijove.broker.core.meter import NOTHING
from perijove.broker.core.policy import Policy
from perijove.broker.core.prices import Price, PriceBook
from perijove.broker.core.records import MoneyRecord
from perijove.wire import control, link
from perijove.wire.gpu_spec import parse_gpu_spec
from perijove.wire.models import BudgetScope, Gpu, SetBy

from .sim_agent import SimAgent
from .sim_client import SimClient
from .sim_ledger import SimLedger

PRICES = PriceBook("2026-07", "test", (Price("H100", 80, 1097), Price("T4", 16, 164)), 22)


class World:
    def __init__(self, policy: Policy | None = None, now: Now | None = None) -> None:
        self.policy = policy or Policy()
        self.now = now or Now(BootMs(1_000_000), WallMs(1_800_000_000_000))
        self.numbers = 0
        self.strict = True
        self.links: set[str] = set()
        self.clients: dict[str, SimClient] = {}
        self.clients_by_link: dict[str, SimClient] = {}
        self.agents: dict[str, SimAgent] = {}
        self.ledger = SimLedger(month=month_of(self.now.wall))
        self.attach_ids: set[str] = set()
        self.respec_ids: set[str] = set()
        self.routes: dict[str, do.SetRoute] = {}
        self.binds = 0
        self.fleet = Fleet(self.policy, PRICES, self.new_id, self.now, "1")

    def new_id(self, prefix: str) -> str:
        self.numbers += 1
        return f"{prefix}-{self.numbers}"

    def new_incarnation(self) -> str:
        self.numbers += 1
        return f"{self.numbers:032x}"

    # people and machines

    def agent(self, agent_id: str, *gpus: Gpu) -> SimAgent:
        agent = self.agents[agent_id] = SimAgent(self, agent_id, list(gpus))
        agent.connect()
        return agent

    def kernel(self, spec: str, user: str = "ada", *, linked: bool = True, budget: int | None = None) -> SimClient:
        kernel_id = self.new_id("kernel")
        self.happen(KernelCreated(kernel_id, user, "perijove", parse_gpu_spec(spec), budget_nanodollars=budget))
        client = self.clients[kernel_id] = SimClient(self, kernel_id)
        if linked:
            client.open()
        return client

    def attach(self, client: SimClient, gpu: str | None = None) -> str:
        request_id = self.new_id("ask")
        self.attach_ids.add(request_id)
        if gpu is not None:
            self.respec_ids.add(request_id)
        client.asked[request_id] = "AttachRequest"
        client.say(link.AttachRequest(request_id=request_id, gpu=gpu))
        return request_id

    def drain(self, agent_id: str, within_ms: int | None = None, by: str = "ann") -> None:
        self.happen(DrainAsked(agent_id, by, within_ms))

    def undo_drain(self, agent_id: str) -> None:
        self.happen(DrainUndone(agent_id))

    def limit(
        self, user: str, scope: BudgetScope, nanodollars: int | None, set_by: SetBy = SetBy.USER, by: str = "root"
    ) -> None:
        """Somebody who may sets what a user may spend."""
        self.happen(LimitSet(user, scope, set_by, nanodollars, user if set_by is SetBy.USER else by))
        self.deliver_all()

    def attached(self, spec: str = "H100", user: str = "ada", *, budget: int | None = None) -> SimClient:
        """A kernel that has its GPU."""
        client = self.kernel(spec, user, budget=budget)
        request_id = self.attach(client)
        self.deliver_all()
        assert client.answers[request_id].code == "", client.answers[request_id]
        return client

    # time and the network

    def happen(self, event: FleetEvent) -> None:
        for instruction in self.fleet.handle(event, self.now):
            self.carry_out(instruction)

    def carry_out(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.ToAgent(link_id, message):
                agent = next((agent for agent in self.agents.values() if agent.link_id == link_id), None)
                if agent is not None:
                    agent.inbox.append(message)
                    if isinstance(message, control.Bind):
                        self._bind_is_wanted(message)
            case do.ToClientLink(link_id, message):
                if link_id in self.links:
                    self.clients_by_link[link_id].hear(message)
            case do.CloseLink(link_id):
                self._close(link_id)
            case do.SetRoute(kernel_id):
                self.routes[kernel_id] = instruction
            case do.DropRoute(kernel_id):
                self.routes.pop(kernel_id, None)
            case _:
                self.ledger.apply(instruction, self.now)

    def _bind_is_wanted(self, message: control.Bind) -> None:
        self.binds += 1
        agent = next(agent for agent in self.agents.values() if message in agent.inbox)
        assert agent.id not in self.fleet.state.drains, "a new lease on an agent that drains"
        client = self.clients[message.kernel_id]
        assert client.link_id is not None, "a GPU for a notebook that is away"
        assert self.attach_ids & client.asked.keys(), "a GPU that nobody asked for"

    def _close(self, link_id: str) -> None:
        if link_id in self.clients_by_link and link_id in self.links:
            client = self.clients_by_link[link_id]
            self.links.discard(link_id)
            if client.link_id == link_id:
                client.lost()
        for agent in self.agents.values():
            if agent.link_id == link_id:
                agent.disconnect()

    def deliver_all(self, rounds: int = 200) -> None:
        """Let all messages arrive, and those they lead to."""
        for _ in range(rounds):
            agents = list(self.agents.values())
            for agent in agents:
                if agent.inbox:
                    agent.take_one()
                self.deliver_from(agent)
            if not any(agent.inbox or agent.outbox for agent in agents):
                return
        raise AssertionError("the broker and its agents never stop talking")

    def deliver_from(self, agent: SimAgent) -> None:
        if agent.outbox and agent.link_id is not None:
            message = agent.outbox.popleft()
            self.happen(AgentSaid(agent.id, agent.link_id, message))

    def advance(self, ms: int, *, renewing: bool = True) -> None:
        """Let time pass; connected agents renew meanwhile, deadlines come when they are due."""
        end = self.now.boot + ms
        while True:
            due = self.fleet.next_deadline()
            step = min(end, self.now.boot + self.policy.renew_every_ms) if renewing else end
            if due is not None and due <= step:
                self._set_time(max(due, self.now.boot))
                self.happen(Tick())
                after = self.fleet.next_deadline()
                assert after is None or after > self.now.boot, "a deadline that is due again at once"
            else:
                self._set_time(step)
                for agent in self.agents.values():
                    agent.enforce_allowance()
                    agent.enforce_limits()
                    if renewing and agent.link_id is not None:
                        agent.renew()
            if renewing:
                self.deliver_all()
            if self.now.boot >= end:
                return

    def clock_steps(self, ms: int) -> None:
        """The broker's wall clock is set to another time."""
        self.now = Now(self.now.boot, WallMs(self.now.wall + ms))

    def _set_time(self, boot: int) -> None:
        self.now = Now(BootMs(boot), WallMs(self.now.wall + boot - self.now.boot))

    def restart_broker(self) -> None:
        """Kill the broker and start it on what the ledger has."""
        for client in self.clients.values():
            client.lost()
        for agent in self.agents.values():
            if agent.link_id is not None:
                self.links.discard(agent.link_id)
                agent.link_id = None
                agent.lasting.extend(
                    m for m in agent.outbox if isinstance(m, control.Released | control.ProcessEnded | control.Ended)
                )
                agent.inbox.clear()
                agent.outbox.clear()
        self.fleet = Fleet(self.policy, PRICES, self.new_id, self.now, "1")
        unconfirmed = [
            replace(lease, durations=ran) for lease, ran, confirmed in self.ledger.closed.values() if not confirmed
        ]
        kernels, leases = list(self.ledger.kernels.values()), list(self.ledger.open.values())
        if month_of(self.now.wall) > self.ledger.month:
            self.ledger.open_month(month_of(self.now.wall))
        leases, unconfirmed = (
            [replace(lease, before_month=self.ledger.before_month.get(lease.id, NOTHING)) for lease in found]
            for found in (leases, unconfirmed)
        )
        drains = self.ledger.drains.values()
        for instruction in self.fleet.restore(kernels, leases, unconfirmed, self._money(), self.now, drains):
            self.carry_out(instruction)

    def _money(self) -> MoneyRecord:
        users = [(lease.user, simulated) for lease, _, _ in self.ledger.closed.values() for simulated in (False, True)]
        ever, month = (
            {
                (user, simulated): self.ledger.spent_by(user, scope, simulated=simulated, closed_only=True)
                for user, simulated in users
            }
            for scope in (BudgetScope.USER, BudgetScope.MONTH)
        )
        return MoneyRecord(
            kernels={kernel_id: self.ledger.spent(kernel_id, closed_only=True) for kernel_id in self.ledger.kernels},
            ever=ever,
            month=month,
            month_began=self.ledger.month,
            limits=list(self.ledger.limits.values()),
        )
