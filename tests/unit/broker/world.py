"""A small world around the core: agents, clients, a ledger and a network that delays and cuts, all without I/O.

Messages wait in queues until the test delivers them, so every order of crossing is reachable. What the world asserts by
itself: links are only used while open, leases open and close once, no GPU has two, and nobody gets a GPU unasked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from perijove.broker.core import instructions as do
from perijove.broker.core.calendar import month_of
from perijove.broker.core.clock import WALL_ZERO, BootMs, Now, WallMs
from perijove.broker.core.events import (
    AgentConnected,
    AgentLinkClosed,
    AgentSaid,
    ClientLinkClosed,
    ClientLinkOpened,
    ClientSaid,
    DrainAsked,
    DrainUndone,
    FleetEvent,
    KernelCreated,
    LimitSet,
    Tick,
)
from perijove.broker.core.fleet import Fleet
from perijove.broker.core.meter import DRIFT_PER_MILLION, NOTHING, SLACK_MS, Durations
from perijove.broker.core.policy import Policy
from perijove.broker.core.prices import Price, PriceBook
from perijove.broker.core.purse import LimitRecord
from perijove.broker.core.records import DrainRecord, KernelRecord, LeaseRecord, MoneyRecord
from perijove.wire import control, link
from perijove.wire.gpu_spec import parse_gpu_spec
from perijove.wire.models import BudgetScope, Gpu, GpuState, KernelState, KernelView, SetBy
from perijove.wire.versions import PROTOCOL

GIB = 2**30
PRICES = PriceBook("2026-07", "test", (Price("H100", 80, 1097), Price("T4", 16, 164)), 22)


def make_gpus(agent_id: str, model: str, count: int, *, simulated: bool = False) -> list[Gpu]:
    return [
        Gpu(
            uuid=f"{agent_id}-{model}-{index}",
            index=index,
            model=model,
            name=model,
            memory_bytes=(16 if model == "T4" else 80) * GIB,
            simulated=simulated,
        )
        for index in range(count)
    ]


@dataclass
class Process:
    incarnation: str
    user: str
    lease_id: str = ""
    gpus: list[str] = field(default_factory=list)
    bound_at: int = 0
    busy: bool = False
    keepable: bool = True
    told_ms: int | None = None  # of the lease, in all
    limit_ms: int | None = None  # ... and as it is kept to

    def limit(self, limit_ms: int | None, now: int) -> None:
        """What has been counted already is not taken back."""
        self.told_ms = limit_ms
        if limit_ms is not None and limit_ms != self.limit_ms:
            limit_ms = max(limit_ms, min(now - self.bound_at, self.limit_ms if self.limit_ms is not None else now))
        self.limit_ms = limit_ms


@dataclass
class SimAgent:
    """An agent as docs/protocol.md describes it: it knows what it holds, and lets go when its allowance is used up."""

    world: World
    id: str
    gpus: list[Gpu]
    link_id: str | None = None
    inbox: deque[Any] = field(default_factory=deque)
    outbox: deque[Any] = field(default_factory=deque)
    lasting: deque[Any] = field(default_factory=deque)
    processes: dict[str, Process] = field(default_factory=dict)
    renewed_at: int = 0
    fails_next_bind: bool = False
    draining: bool = False  # it has asked for that itself

    # the link

    def connect(self) -> None:
        self.disconnect()
        self.link_id = self.world.new_id("agentlink")
        self.world.links.add(self.link_id)
        self.inbox.clear()
        self.outbox.clear()
        self.renewed_at = self.world.now.boot
        self.world.happen(AgentConnected(self.link_id, f"token-{self.id}", self.hello()))
        welcome = next(m for m in self.inbox if isinstance(m, control.Welcome))
        for kernel_id in [kernel_id for kernel_id in self.processes if kernel_id not in welcome.keep]:
            del self.processes[kernel_id]
        self.outbox.extend(self.lasting)
        self.lasting.clear()

    def disconnect(self) -> None:
        if self.link_id is None:
            return
        link_id, self.link_id = self.link_id, None
        self.world.links.discard(link_id)
        for message in self.outbox:
            if isinstance(message, control.Released | control.ProcessEnded | control.Ended):
                self.lasting.append(message)
        self.inbox.clear()
        self.outbox.clear()
        self.world.happen(AgentLinkClosed(self.id, link_id))

    def crash(self) -> None:
        """The agent's process is gone, and with it everything that ran there."""
        self.processes.clear()
        self.outbox.clear()
        self.draining = False
        self.disconnect()
        self.lasting.clear()

    def hello(self) -> control.Hello:
        return control.Hello(
            protocol=PROTOCOL,
            version="1",
            python="3.11.7",
            agent_id=self.id,
            name=self.id,
            gpus=self.inventory(),
            kernels=[
                control.KernelReport(
                    kernel_id=kernel_id,
                    incarnation=process.incarnation,
                    user=process.user,
                    gpus=process.gpus,
                    lease=self.report(process),
                    busy=process.busy,
                    keepable=process.keepable,
                )
                for kernel_id, process in self.processes.items()
            ],
            draining=self.draining,
        )

    def ask_for_drain(self, *, draining: bool) -> None:
        self.draining = draining
        self.say(control.Inventory(gpus=self.inventory(), draining=draining))

    def inventory(self) -> list[Gpu]:
        held = {uuid for process in self.processes.values() for uuid in process.gpus}
        return [gpu.model_copy(update={"state": GpuState.HELD}) if gpu.uuid in held else gpu for gpu in self.gpus]

    def say(self, message: Any) -> None:
        if self.link_id is not None:
            self.outbox.append(message)

    def say_surely(self, message: Any) -> None:
        (self.outbox if self.link_id is not None else self.lasting).append(message)

    # what it does

    def take_one(self) -> None:
        """Deal with one message of the broker."""
        message = self.inbox.popleft()
        match message:
            case control.Bind():
                self._bind(message)
            case control.Release():
                self._release(message)
            case control.Restart():
                self._restart(message)
            case control.End():
                process = self.processes.pop(message.kernel_id, None)
                report = self.report(process) if process else None
                self.say_surely(
                    control.Ended(request_id=message.request_id, kernel_id=message.kernel_id, report=report)
                )
            case control.Limit():
                limited = self.processes.get(message.kernel_id)
                if limited is not None and limited.lease_id == message.lease_id:
                    limited.limit(message.limit_ms, self.world.now.boot)
            case control.Renewed():
                self.renewed_at = self.world.now.boot
                for process in self.processes.values():
                    if process.lease_id in message.allowances_s:
                        process.limit(message.limits_ms.get(process.lease_id), self.world.now.boot)
                for kernel_id, process in list(self.processes.items()):
                    if process.lease_id and process.lease_id not in message.allowances_s:
                        self.let_go(kernel_id)

    def _bind(self, message: control.Bind) -> None:
        held = {uuid for kid, p in self.processes.items() if kid != message.kernel_id for uuid in p.gpus}
        assert not held & set(message.gpus), "the broker bound a GPU that another kernel holds"
        resuming = self.processes.get(message.kernel_id)
        gone = message.incarnation is not None and (resuming is None or resuming.incarnation != message.incarnation)
        if gone or self.fails_next_bind:
            self.fails_next_bind = False
            if not gone and resuming is not None and message.incarnation is None:
                del self.processes[message.kernel_id]
            self.say(
                control.BindFailed(
                    request_id=message.request_id,
                    kernel_id=message.kernel_id,
                    lease_id=message.lease_id,
                    code="attach_failed",
                    message="it did not work",
                    state_lost=gone,
                    report=_report(message.lease_id, 0),
                )
            )
            return
        process = resuming if message.incarnation is not None else None
        if process is None:
            process = Process(self.world.new_incarnation(), message.user)
        process.lease_id, process.gpus, process.bound_at = message.lease_id, message.gpus, self.world.now.boot
        process.limit_ms = process.told_ms = message.limit_ms
        self.processes[message.kernel_id] = process
        self.say(self._bound(message, process, resumed=message.incarnation is not None))

    def _bound(self, message: control.Bind | control.Restart, process: Process, *, resumed: bool) -> control.Bound:
        report = self.report(process)
        assert report is not None
        return control.Bound(
            request_id=message.request_id,
            kernel_id=message.kernel_id,
            lease_id=message.lease_id,
            incarnation=process.incarnation,
            resumed=resumed,
            report=report,
        )

    def _release(self, message: control.Release) -> None:
        process = self.processes.get(message.kernel_id)
        if process is not None and process.busy and message.only_if_idle:
            self.say(control.NotIdle(request_id=message.request_id, kernel_id=message.kernel_id))
            return
        if process is None:
            self.say(self._released(message.request_id, message.kernel_id, "", _report(message.lease_id, 0), False))
            return
        self.let_go(message.kernel_id, message.request_id, message.lease_id)

    def let_go(self, kernel_id: str, request_id: str = "", lease_id: str = "", reason: str = "") -> None:
        process = self.processes[kernel_id]
        report = self.report(process) or _report(lease_id, 0)
        kept = process.keepable and not process.busy
        process.lease_id, process.gpus = "", []
        if not kept:
            del self.processes[kernel_id]
        self.say_surely(self._released(request_id, kernel_id, process.incarnation, report, kept, reason))

    def _released(
        self,
        request_id: str,
        kernel_id: str,
        incarnation: str,
        report: control.LeaseReport,
        kept: bool,
        reason: str = "",
    ) -> control.Released:
        return control.Released(
            request_id=request_id,
            kernel_id=kernel_id,
            incarnation=incarnation,
            kept=kept,
            why_lost="" if kept else "it was in use",
            reason=reason,
            report=report,
        )

    def _restart(self, message: control.Restart) -> None:
        process = self.processes.get(message.kernel_id)
        if process is None or process.lease_id != message.lease_id:
            self.say(
                control.BindFailed(
                    request_id=message.request_id,
                    kernel_id=message.kernel_id,
                    lease_id=message.lease_id,
                    code="kernel_died",
                    message="that lease is not held here",
                    state_lost=True,
                    report=_report(message.lease_id, 0),
                )
            )
            return
        process.incarnation, process.busy = self.world.new_incarnation(), False
        self.say(self._bound(message, process, resumed=False))

    def process_dies(self, kernel_id: str) -> None:
        process = self.processes.pop(kernel_id)
        self.say_surely(
            control.ProcessEnded(
                kernel_id=kernel_id,
                incarnation=process.incarnation,
                reason="killed",
                message="The kernel was killed.",
                report=self.report(process),
            )
        )

    def turn(self, kernel_id: str, *, busy: bool) -> None:
        process = self.processes[kernel_id]
        process.busy = busy
        self.say(
            control.Activity(
                kernel_id=kernel_id,
                incarnation=process.incarnation,
                busy=busy,
                gpu_quiet=not busy,
                keepable=process.keepable,
            )
        )

    def renew(self) -> None:
        reports = [report for process in self.processes.values() if (report := self.report(process))]
        self.say(control.Renew(leases=reports))

    def enforce_allowance(self) -> None:
        """By its own clock, from when it last heard that it may go on."""
        if self.link_id is None and self.world.now.boot - self.renewed_at >= self.world.policy.allowance_ms:
            for kernel_id in [kernel_id for kernel_id, process in self.processes.items() if process.lease_id]:
                self.let_go(kernel_id)

    def enforce_limits(self) -> None:
        for kernel_id, process in list(self.processes.items()):
            ran_ms = self.world.now.boot - process.bound_at
            if process.lease_id and process.limit_ms is not None and ran_ms >= process.limit_ms:
                self.let_go(kernel_id, reason="budget")

    def report(self, process: Process) -> control.LeaseReport | None:
        """The meter stands still when the time to let go at the limit is over."""
        if not process.lease_id:
            return None
        ran_ms = self.world.now.boot - process.bound_at
        if process.limit_ms is not None:
            ran_ms = min(ran_ms, process.limit_ms + control.LIMIT_GRACE_MS)
        return _report(process.lease_id, ran_ms, process.told_ms)


def _report(lease_id: str, idle_ms: int, limit_ms: int | None = None) -> control.LeaseReport:
    return control.LeaseReport(lease_id=lease_id, starting_ms=0, busy_ms=0, idle_ms=idle_ms, limit_ms=limit_ms)


@dataclass
class SimClient:
    world: World
    kernel_id: str
    link_id: str | None = None
    view: KernelView | None = None
    heard: list[Any] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)  # request on the open link → what it was
    answers: dict[str, link.Reply] = field(default_factory=dict)

    def open(self, session: str = "") -> None:
        """Connect; what was asked before and not answered counts as asked no more: a real client would ask again."""
        self.asked.clear()
        self.link_id = self.world.new_id("clientlink")
        self.world.links.add(self.link_id)
        self.world.clients_by_link[self.link_id] = self
        self.world.happen(ClientLinkOpened(self.kernel_id, self.link_id, session))

    def close(self) -> None:
        if self.link_id is not None:
            link_id = self.link_id
            self.lost()
            self.world.happen(ClientLinkClosed(self.kernel_id, link_id))

    def lost(self) -> None:
        if self.link_id is not None:
            self.world.links.discard(self.link_id)
            self.link_id = None
        self.asked.clear()

    def ask(self, kind: type[Any], **fields: Any) -> str:
        request_id = self.world.new_id("ask")
        self.asked[request_id] = kind.__name__
        self.say(kind(request_id=request_id, **fields))
        return request_id

    def say(self, message: Any) -> None:
        assert self.link_id is not None
        self.world.happen(ClientSaid(self.kernel_id, self.link_id, message))

    def hear(self, message: Any) -> None:
        self.heard.append(message)
        match message:
            case link.LinkWelcome() | link.State():
                self.view = message.kernel
            case link.Reply():
                assert message.request_id in self.asked, "answered twice, or on another link"
                del self.asked[message.request_id]
                self.answers[message.request_id] = message
                if self.world.strict and not message.code and message.request_id in self.world.attach_ids:
                    assert self.view is not None
                    assert self.view.state is KernelState.ATTACHED
                    if message.request_id in self.world.respec_ids:
                        self._has_what_it_asked_for(self.view)

    def _has_what_it_asked_for(self, view: KernelView) -> None:
        spec = parse_gpu_spec(view.gpu_spec)
        assert view.gpus is not None
        if spec.is_cpu:
            assert not view.gpus.uuids
            return
        gpus = [gpu for agent in self.world.agents.values() for gpu in agent.gpus if gpu.uuid in view.gpus.uuids]
        assert any(
            len(gpus) == choice.count and all(choice.accepts(gpu.model, gpu.memory_bytes) for gpu in gpus)
            for choice in spec.choices
        )


@dataclass
class SimLedger:
    """What the books would hold."""

    open: dict[str, LeaseRecord] = field(default_factory=dict)
    closed: dict[str, tuple[LeaseRecord, Durations, bool]] = field(default_factory=dict)
    kernels: dict[str, KernelRecord] = field(default_factory=dict)
    drains: dict[str, DrainRecord] = field(default_factory=dict)
    limits: dict[tuple[str, BudgetScope, SetBy], LimitRecord] = field(default_factory=dict)
    month: WallMs = WALL_ZERO  # the newest that was opened
    before_month: dict[str, Durations] = field(default_factory=dict)  # by lease, what was proven of it by then
    opened: dict[str, BootMs] = field(default_factory=dict)

    def apply(self, instruction: do.LedgerInstruction, now: Now) -> None:
        match instruction:
            case do.OpenLease(lease):
                assert lease.id not in self.open
                assert lease.id not in self.closed, "a lease opened twice"
                for other in self.open.values():
                    if other.simulated == lease.simulated:
                        assert not set(other.gpus) & set(lease.gpus), "two open leases on one GPU"
                assert lease.opened_at > self.month, "a lease of a month that is over"
                self.open[lease.id] = lease
                self.opened[lease.id] = now.boot
            case do.RenewLease(lease_id, durations):
                assert durations.total_ms >= self.open[lease_id].durations.total_ms, "time went backwards"
                self.open[lease_id] = replace(self.open[lease_id], durations=durations)
            case do.CloseLease(lease_id, durations, _, confirmed):
                lease = self.open.pop(lease_id)
                self._check(lease, durations, now)
                self.closed[lease_id] = (lease, durations, confirmed)
            case do.AdjustLease(lease_id, durations):
                lease, before, confirmed = self.closed[lease_id]
                assert not confirmed, "a confirmed lease was adjusted"
                self.closed[lease_id] = (lease, max(before, durations, key=lambda d: d.total_ms), True)
            case do.OpenMonth(start, proven):
                self.open_month(start)
                assert proven == self.before_month
            case do.SaveLimit(limit):
                self.limits[limit.user, limit.scope, limit.set_by] = limit
            case do.ForgetLimit(user, scope, set_by):
                del self.limits[user, scope, set_by]
            case do.SaveKernel(kernel):
                self.kernels[kernel.id] = kernel
            case do.ForgetKernel(kernel_id):
                self.kernels.pop(kernel_id, None)
            case do.SaveDrain(drain):
                self.drains[drain.agent_id] = drain
            case do.ForgetDrain(agent_id):
                del self.drains[agent_id]

    def open_month(self, start: WallMs) -> None:
        assert start > self.month, "a month was opened twice"
        self.month = start
        self.before_month = {lease.id: lease.durations for lease in self.open.values()}
        self.before_month |= {lease.id: ran for lease, ran, confirmed in self.closed.values() if not confirmed}

    def _check(self, lease: LeaseRecord, durations: Durations, now: Now) -> None:
        seen = now.boot - self.opened[lease.id]
        most = seen + seen * DRIFT_PER_MILLION // 1_000_000 + SLACK_MS
        assert 0 <= durations.total_ms <= max(most, lease.durations.total_ms), "billed for more time than passed"

    def spent(self, kernel_id: str, *, closed_only: bool = False) -> tuple[int, int]:
        """What is proven of a kernel's leases, and the simulated part of it."""
        ran = [(lease, durations) for lease, durations, _ in self.closed.values()]
        if not closed_only:
            ran += [(lease, lease.durations) for lease in self.open.values()]
        costs = [
            (d.total_ms * lease.nanodollars_per_ms, lease.simulated) for lease, d in ran if lease.kernel_id == kernel_id
        ]
        return sum(cost for cost, _ in costs), sum(cost for cost, simulated in costs if simulated)

    def spent_by(self, user: str, scope: BudgetScope, *, simulated: bool = False, closed_only: bool = False) -> int:
        """What is proven of a user's leases in one kind of money; for a month: since the newest one was opened."""
        ran = [(lease, durations) for lease, durations, _ in self.closed.values()]
        if not closed_only:
            ran += [(lease, lease.durations) for lease in self.open.values()]
        spent = 0
        for lease, durations in ran:
            if lease.user != user or lease.simulated != simulated:
                continue
            if scope is BudgetScope.MONTH and lease.id in self.before_month:
                durations = durations.minus(self.before_month[lease.id])
            elif scope is BudgetScope.MONTH and lease.opened_at <= self.month:
                continue  # it was over by then
            spent += durations.total_ms * lease.nanodollars_per_ms
        return spent

    def total(self) -> int:
        return sum(
            durations.cost(lease.price_microdollars_per_second, lease.count)
            for lease, durations, _ in self.closed.values()
        )


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
