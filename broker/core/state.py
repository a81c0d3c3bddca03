"""The fleet's state and the few primitive steps that all events are made of.

Every step that a user or the ledger must hear of goes through here, so that it cannot be forgotten: ``move`` changes a
kernel's state by the table, ``open_lease`` and ``close_lease`` keep the books, ``touch`` makes the client hear of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ...wire.control import End, FromBroker, LeaseReport
from ...wire.link import Reply, ToClient
from ...wire.models import BudgetScope, Gpu, GpuState, KernelState, KernelView
from . import instructions as do
from .calendar import Calendar
from .clock import BootMs, Now
from .idle import idle_timeout_ms
from .lease import Event, next_state
from .meter import Durations, Meter, Phase
from .policy import Policy
from .prices import PriceBook
from .purse import HeldBack, Purse
from .records import Agent, Drain, Gap, Kernel, Lease, LeaseRecord, Pending, Question
from .shares import Shares
from .timers import Timers
from .view import activity_of

GpuKey = tuple[str, str]
REMEMBERED_CLOSED_LEASES = 10_000
LATE_PROOF_WANTED_MS = 7 * 24 * 3_600_000
PROOF_TIMER = "proof"


def gpu_key(agent_id: str, uuid: str, *, simulated: bool) -> GpuKey:
    """A real GPU is one thing, whoever reports it; a simulated one belongs to its agent."""
    return (agent_id if simulated else "", uuid)


@dataclass(slots=True)
class Unconfirmed:
    """A lease that was closed without its agent's word."""

    lease: LeaseRecord
    wanted_until: BootMs

    def month_begins(self) -> None:
        self.lease = replace(self.lease, before_month=self.lease.durations)


@dataclass(slots=True)
class FleetState:
    policy: Policy
    prices: PriceBook
    new_id: Callable[[str], str]
    started: Now
    kernels: dict[str, Kernel] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    holds: dict[GpuKey, str] = field(default_factory=dict)  # GPU → the open lease on it
    drains: dict[str, Drain] = field(default_factory=dict)  # by agent, which may be unknown or away
    queued: set[str] = field(default_factory=set)
    closed_unconfirmed: dict[str, Unconfirmed] = field(default_factory=dict)  # late proof of them is still welcome
    shares: Shares = field(default_factory=Shares)
    timers: Timers = field(default_factory=Timers)
    calendar: Calendar = field(init=False)
    purses: dict[str, Purse] = field(default_factory=dict)  # by user
    agents_seen: set[str] = field(default_factory=set)  # since the broker started
    plan_needed: bool = False

    # what the event at hand brings about
    out: list[do.Instruction] = field(default_factory=list)
    replies: list[do.ToClientLink] = field(default_factory=list)
    closes: list[do.CloseLink] = field(default_factory=list)
    touched: dict[str, None] = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)  # users whose money for other kernels has become more or less
    welcomed: dict[str, KernelView] = field(default_factory=dict)  # what a Welcome of this event has already said

    def __post_init__(self) -> None:
        self.calendar = Calendar.at(self.started)

    # saying things ----------------------------------------------------------------------------------------------

    def touch(self, kernel: Kernel) -> None:
        """The kernel's client and record are to be brought up to date when this event has been dealt with."""
        self.touched[kernel.id] = None

    def tell(self, kernel: Kernel, message: ToClient) -> None:
        if kernel.link_id is not None:
            self.out.append(do.ToClientLink(kernel.link_id, message))

    def reply(self, kernel: Kernel, request_id: str, code: str = "", message: str = "") -> None:
        """Answer a client's request, after it has heard of the state that the answer stands for."""
        if kernel.link_id is not None:
            self.replies.append(
                do.ToClientLink(kernel.link_id, Reply(request_id=request_id, code=code, message=message))
            )

    def answer_all(self, kernel: Kernel, requests: list[str], code: str = "", message: str = "") -> None:
        for request_id in requests:
            self.reply(kernel, request_id, code, message)
        requests.clear()

    def link_of(self, agent_id: str | None) -> str | None:
        agent = self.agents.get(agent_id or "")
        return agent.link_id if agent is not None else None

    def tell_agent(self, agent_id: str, message: FromBroker, *, after_commit: bool = False) -> None:
        """Say something to an agent that is connected; one that is not learns how things are from its Welcome."""
        if (link_id := self.link_of(agent_id)) is not None:
            self.out.append(do.ToAgent(link_id, message, after_commit))

    def expect(self, kernel: Kernel, question: Question, request_id: str, now: Now) -> None:
        kernel.pending = Pending(question, request_id, now.boot_in(self.policy.answer_patience_ms))
        self.touch(kernel)

    def end_process(self, agent_id: str, kernel_id: str) -> None:
        """Have an agent end a process of the kernel that nobody will ask for again; its answer is not awaited."""
        self.tell_agent(agent_id, End(request_id=self.new_id("request"), kernel_id=kernel_id))

    # a kernel's state -------------------------------------------------------------------------------------------

    def move(self, kernel: Kernel, event: Event) -> None:
        kernel.state = next_state(kernel.state, event, process_lives=kernel.incarnation is not None)
        if kernel.state is KernelState.QUEUED:
            self.queued.add(kernel.id)
            self.plan_needed = True
        else:
            self.queued.discard(kernel.id)
        self.touch(kernel)

    def lose_process(self, kernel: Kernel, notice: str) -> None:
        kernel.lost_incarnation = kernel.incarnation or kernel.lost_incarnation
        kernel.incarnation, kernel.busy, kernel.quiet_since = None, False, None
        kernel.notice = notice
        self.touch(kernel)

    def forget(self, kernel: Kernel) -> None:
        """A terminated kernel holds nothing any more."""
        self.kernels.pop(kernel.id, None)
        self.queued.discard(kernel.id)
        self.timers.set(f"kernel {kernel.id}", None)

    # leases -----------------------------------------------------------------------------------------------------

    def price_of(self, gpus: tuple[Gpu, ...]) -> int:
        """Micro-dollars per second for each of these, or for a kernel without a GPU."""
        return (
            self.prices.of_gpu(gpus[0].model, gpus[0].memory_bytes) if gpus else self.prices.cpu_microdollars_per_second
        )

    def open_lease(self, kernel: Kernel, agent: Agent, gpus: tuple[Gpu, ...], now: Now, lease_id: str) -> Lease:
        model = gpus[0].model if gpus else "cpu"
        record = LeaseRecord(
            id=lease_id,
            kernel_id=kernel.id,
            user=kernel.user,
            agent_id=agent.id,
            agent_name=agent.name,
            model=model,
            count=max(1, len(gpus)),
            gpus=tuple(gpu.uuid for gpu in gpus),
            simulated=any(gpu.simulated for gpu in gpus),
            price_microdollars_per_second=self.price_of(gpus),
            opened_at=now.wall,
            notebook=kernel.notebook,
        )
        lease = Lease(record, Meter(started=now.boot, shown_at=now.boot), told_ms=0, goes_by_ms=0)
        if (gap := kernel.savings.gap) is not None:
            self.out.append(do.CountGap(gap.lease.id, gap.ms_at(now.boot)))
            kernel.savings.end_gap(now.boot)
        kernel.lease, kernel.agent_id, kernel.agent_name = lease, agent.id, agent.name
        kernel.drain = self.drains.get(agent.id)
        self.hold(lease)
        self.drawn.add(record.user)
        self.out.append(do.OpenLease(record))
        self.touch(kernel)
        return lease

    def hold(self, lease: Lease) -> None:
        record = lease.record
        for uuid in record.gpus:
            self.holds[gpu_key(record.agent_id, uuid, simulated=record.simulated)] = record.id
        self.shares.held(record.user, len(record.gpus))
        self.purse_of(record.user).leases[record.id] = lease

    def purse_of(self, user: str) -> Purse:
        purse = self.purses.get(user)
        if purse is None:
            purse = self.purses[user] = Purse(user, self.calendar.month, self.policy.unheard_ms)
        return purse

    def give_purse(self, kernel: Kernel) -> None:
        """A kernel that is new here draws on its user's money."""
        kernel.purse = self.purse_of(kernel.user)
        kernel.account.cap = kernel.purse.limit(BudgetScope.KERNEL)

    def money_for(self, kernel: Kernel) -> set[bool]:
        """Whether what meets its spec here costs simulated money (True), real money, or either."""
        if kernel.spec.is_cpu or not kernel.purse.shared_limits:
            return {False}  # where nothing counts them apart, nobody need look
        found = {
            gpu.simulated
            for agent in self.agents.values()
            for gpu in agent.gpus.values()
            if any(choice.accepts(gpu.model, gpu.memory_bytes) for choice in kernel.spec.choices)
        }
        return {False} if False in found else found or {False, True}

    def close_lease(self, kernel: Kernel, now: Now, report: LeaseReport | None, *, confirmed: bool = True) -> None:
        """The kernel's lease is over: at what the agent says, or at what it said last."""
        lease = kernel.lease
        assert lease is not None
        durations = self.take_report(lease, report, now) if report is not None else lease.meter.proven
        record = lease.record
        self.out.append(do.CloseLease(record.id, durations, now.wall, confirmed))
        cost, purse = record.cost_of(durations), self.purse_of(record.user)
        kernel.account.charge(cost, simulated=record.simulated)
        purse.charge(record, cost, record.cost_of(durations, BudgetScope.MONTH))
        if not confirmed:
            self.await_proof(kernel, replace(record, durations=durations), purse.may_still_cost(lease), now)
        del purse.leases[record.id]
        self.drawn.add(record.user)
        self._unhold(record)
        kernel.lease, kernel.busy, kernel.quiet_since = None, False, None
        kernel.respec_wish = None
        kernel.keep_no_longer()
        kernel.savings.gap = Gap(record, now.boot)
        self.plan_needed = True
        self.touch(kernel)

    def await_proof(self, kernel: Kernel | None, lease: LeaseRecord, may_still_cost: int | None, now: Now) -> None:
        """A lease was closed without its agent's word, who may have counted on for as long as it was allowed to."""
        self.closed_unconfirmed[lease.id] = Unconfirmed(lease, now.boot_in(LATE_PROOF_WANTED_MS))
        uncounted = self.policy.unheard_ms * lease.nanodollars_per_ms
        held_back = HeldBack(uncounted if may_still_cost is None else may_still_cost, lease.simulated)
        self.purse_of(lease.user).held_back[lease.id] = held_back
        if kernel is not None:
            kernel.account.held_back[lease.id] = uncounted
        if len(self.closed_unconfirmed) > REMEMBERED_CLOSED_LEASES:
            self.forget_unconfirmed(next(iter(self.closed_unconfirmed)))
        self.timers.set(PROOF_TIMER, next(iter(self.closed_unconfirmed.values())).wanted_until)

    def take_unconfirmed(self, lease_id: str) -> LeaseRecord | None:
        """Its proof has come."""
        found = self.closed_unconfirmed.get(lease_id)
        if found is not None:
            self.forget_unconfirmed(lease_id)
        return found.lease if found is not None else None

    def forget_unconfirmed(self, lease_id: str) -> None:
        self.hold_nothing_back(self.closed_unconfirmed.pop(lease_id).lease)

    def forget_too_late(self, now: Now) -> None:
        """What nobody has proven for a week is not waited for any longer."""
        while self.closed_unconfirmed:
            lease_id, oldest = next(iter(self.closed_unconfirmed.items()))
            if oldest.wanted_until > now.boot:
                self.timers.set(PROOF_TIMER, oldest.wanted_until)
                return
            self.forget_unconfirmed(lease_id)

    def hold_nothing_back(self, lease: LeaseRecord) -> None:
        held = self.purse_of(lease.user).held_back.pop(lease.id, None)
        kernel = self.kernels.get(lease.kernel_id)
        if kernel is not None and kernel.account.held_back.pop(lease.id, None) is not None:
            self.touch(kernel)
        if held is not None:
            self.drawn.add(lease.user)

    def take_report(self, lease: Lease, report: LeaseReport, now: Now) -> Durations:
        before = lease.meter.proven.total_ms
        durations = lease.meter.report(Durations.of(report), now.boot)
        self.shares.used(lease.record.user, (durations.total_ms - before) * len(lease.record.gpus), now.boot)
        return durations

    def set_busy(self, kernel: Kernel, *, busy: bool, gpu_quiet: bool, now: Now) -> None:
        kernel.busy, kernel.active_at = busy, now.boot
        if busy or not gpu_quiet:
            kernel.quiet_since = None
        elif kernel.quiet_since is None:
            kernel.quiet_since = now.boot
            if kernel.keep_extra_ms:
                kept_ms = idle_timeout_ms(activity_of(kernel), self.policy) + kernel.keep_extra_ms
                kernel.keep_until(now.boot_in(kept_ms), now)
                kernel.keep_extra_ms = 0
        if kernel.lease is not None:
            kernel.lease.meter.turn(Phase.BUSY if busy else Phase.IDLE, now.boot)
        self.touch(kernel)

    def _unhold(self, record: LeaseRecord) -> None:
        agent = self.agents.get(record.agent_id)
        for uuid in record.gpus:
            self.holds.pop(gpu_key(record.agent_id, uuid, simulated=record.simulated), None)
            gpu = agent.gpus.get(uuid) if agent is not None else None
            # The agent's next inventory says so too; the next in line need not wait for it. A reason while it was held
            # is one why nothing new may run on it.
            if agent is not None and gpu is not None and gpu.state is GpuState.HELD:
                then = GpuState.UNHEALTHY if gpu.reason else GpuState.FREE
                agent.gpus[uuid] = gpu.model_copy(update={"state": then})
        self.shares.held(record.user, -len(record.gpus))

    def is_held(self, agent: Agent, gpu: Gpu) -> bool:
        return gpu_key(agent.id, gpu.uuid, simulated=gpu.simulated) in self.holds
