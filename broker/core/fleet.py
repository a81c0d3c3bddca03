"""The broker's mind: events in, instructions out; no socket, clock or database.

``handle`` takes one event and the moment it happened and returns what is to be done, in order. ``next_deadline`` says
when a Tick is due if nothing else happens. Everything that takes place in between is in the modules named for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...wire.errors import AttachCancelled, PerijoveError
from ...wire.gpu_spec import GpuSpec, parse_gpu_spec
from ...wire.link import MOST_KEEP_S, State
from ...wire.models import KernelState, KernelView
from . import budget, draining
from . import instructions as do
from .agent_events import agent_said
from .calendar import month_name
from .client_events import client_said, kernel_created, link_closed, link_opened
from .clock import BootMs, Now, WallMs, earliest
from .events import (
    AgentConnected,
    AgentLinkClosed,
    AgentSaid,
    ApiAsked,
    ClientLinkClosed,
    ClientLinkOpened,
    ClientSaid,
    DrainAsked,
    DrainUndone,
    FleetEvent,
    KernelCreated,
    KernelDeleted,
    LimitSet,
    NotebookNamed,
    Tick,
)
from .granting import PLAN_TIMER, serve_queue
from .lease import HOLDS_GPU
from .meter import Meter, Phase
from .policy import Policy
from .prices import PriceBook
from .purse import Purse
from .reconcile import agent_connected, agent_lost, agent_vanished
from .records import (
    Agent,
    DrainRecord,
    Gap,
    Kernel,
    KernelRecord,
    KernelsSavings,
    Lease,
    LeaseRecord,
    MoneyRecord,
    Pending,
    Savings,
)
from .sharing import open_month_if_due, set_limit, share_out
from .state import PROOF_TIMER, FleetState
from .view import idle_deadline, view_of
from .wishes import end_kernel, leave_queue, settle

MONTH_TIMER = "month"


class Fleet:
    """All kernels, leases and agents of one broker."""

    def __init__(
        self, policy: Policy, prices: PriceBook, new_id: Callable[[str], str], now: Now, version: str = ""
    ) -> None:
        self.state = FleetState(policy, prices, new_id, now)
        self.state.shares.half_life_ms = policy.share_half_life_ms
        self._version = version
        self._saved: dict[str, KernelRecord] = {}
        self._routes: dict[str, do.SetRoute] = {}

    def steady(self, now: Now) -> Now:
        """A moment with the time of day that the books go by."""
        return self.state.calendar.steady(now)

    # reading ----------------------------------------------------------------------------------------------------

    @property
    def kernels(self) -> dict[str, Kernel]:
        """By id; terminated ones stay until their agent has confirmed that nothing is held."""
        return self.state.kernels

    @property
    def purses(self) -> dict[str, Purse]:
        """What users have spent and may spend, by name: of all who have had a kernel or a limit."""
        return self.state.purses

    @property
    def month_began(self) -> WallMs:
        """When the month began that is counted now."""
        return self.state.calendar.month

    @property
    def month_name(self) -> str:
        """The month that is counted now, UTC."""
        return month_name(self.state.calendar.month)

    @property
    def agents(self) -> dict[str, Agent]:
        return self.state.agents

    def living_kernels(self, user: str | None = None) -> list[Kernel]:
        return [k for k in self.state.kernels.values() if not k.ended and (user is None or k.user == user)]

    def kernel(self, kernel_id: str) -> Kernel | None:
        kernel = self.state.kernels.get(kernel_id)
        return None if kernel is None or kernel.ended else kernel

    def view(self, kernel: Kernel, now: Now) -> KernelView:
        return view_of(kernel, self.state.policy, now.boot)

    def next_deadline(self) -> BootMs | None:
        return self.state.timers.next()

    @property
    def in_use(self) -> bool:
        """Whether somebody is linked, waits, runs, or could come back for variables."""
        return any(
            k.link_id is not None or k.lease is not None or k.state in (KernelState.QUEUED, KernelState.SUSPENDED)
            for k in self.state.kernels.values()
        )

    # events -----------------------------------------------------------------------------------------------------

    def handle(self, event: FleetEvent, now: Now) -> list[do.Instruction]:
        state, now = self.state, self.state.calendar.steady(now)
        open_month_if_due(state, now)
        match event:
            case AgentConnected():
                agent_connected(state, event, now, self._version)
            case AgentSaid():
                agent = state.agents.get(event.agent_id)
                if agent is not None and agent.link_id == event.link_id:
                    agent_said(state, agent, event.message, now)
            case AgentLinkClosed():
                agent = state.agents.get(event.agent_id)
                if agent is not None and agent.link_id == event.link_id:
                    agent_lost(state, agent, now)
            case KernelCreated():
                kernel_created(state, event, now)
            case LimitSet():
                set_limit(state, event, now)
            case DrainAsked():
                draining.drain_asked(state, event, now)
            case DrainUndone():
                draining.drain_undone(state, event.agent_id)
            case Tick():
                self._tick(now)
            case NotebookNamed():
                if (kernel := self.kernel(event.kernel_id)) is not None:
                    kernel.notebook = event.notebook
                    state.touch(kernel)
            case KernelDeleted() | ClientLinkOpened() | ClientSaid() | ApiAsked() | ClientLinkClosed():
                kernel = self.kernel(event.kernel_id)
                if kernel is not None:
                    self._kernel_event(kernel, event, now)
        while state.plan_needed or state.drawn:
            share_out(state, now)
            if state.plan_needed:
                serve_queue(state, now)
        return self._flush(now)

    def _kernel_event(
        self,
        kernel: Kernel,
        event: KernelDeleted | ClientLinkOpened | ClientSaid | ApiAsked | ClientLinkClosed,
        now: Now,
    ) -> None:
        match event:
            case KernelDeleted():
                end_kernel(self.state, kernel, now, "the kernel was ended")
            case ClientLinkOpened():
                link_opened(self.state, kernel, event, now, self._version)
            case ClientSaid() if kernel.link_id == event.link_id:
                client_said(self.state, kernel, event.message, now)
            case ApiAsked():
                client_said(self.state, kernel, event.message, now)
            case ClientLinkClosed() if kernel.link_id == event.link_id:
                link_closed(self.state, kernel, now)

    def _tick(self, now: Now) -> None:
        for name in self.state.timers.take_due(now.boot):
            kind, _, subject = name.partition(" ")
            if kind == "agent" and subject in self.state.agents:
                agent_vanished(self.state, self.state.agents[subject], now)
            elif kind == "kernel" and subject in self.state.kernels:
                self._kernel_due(self.state.kernels[subject], now)
            elif kind == draining.TIMER:
                draining.enforce(self.state, subject, now)
            elif name == PLAN_TIMER:
                self.state.plan_needed = True
            elif name == PROOF_TIMER:
                self.state.forget_too_late(now)

    def _kernel_due(self, kernel: Kernel, now: Now) -> None:
        """A deadline of this kernel has come; find out which, and set the next (in ``_flush``)."""
        state = self.state
        state.touch(kernel)
        if kernel.pending is not None:
            if kernel.pending.deadline <= now.boot:
                self._cut_off(kernel, now)
            return
        if kernel.state is KernelState.QUEUED and kernel.queue_abandoned_at is not None:
            if kernel.queue_abandoned_at <= now.boot:
                leave_queue(state, kernel, AttachCancelled.code, "its notebook went away while it waited for a GPU")
            return
        deadline = idle_deadline(kernel, state.policy)
        if deadline is not None and deadline.at <= now.boot and kernel.release_wish is None:
            if state.link_of(kernel.agent_id) is not None:
                kernel.release_wish = "idle"
                settle(state, kernel, now)
        elif (abandoned := self._abandoned_at(kernel)) is not None and abandoned <= now.boot:
            end_kernel(state, kernel, now, "nobody has used the kernel for a long time")

    def _cut_off(self, kernel: Kernel, now: Now) -> None:
        """The agent has left a question open for too long: a new Hello will say how things are."""
        assert kernel.pending is not None
        pending = kernel.pending
        kernel.pending = Pending(
            pending.question, pending.request_id, now.boot_in(self.state.policy.answer_patience_ms)
        )
        if (link_id := self.state.link_of(kernel.agent_id)) is not None:
            self.state.closes.append(do.CloseLink(link_id, f"the agent did not answer {pending.question!r} in time"))

    def _abandoned_at(self, kernel: Kernel) -> BootMs | None:
        if kernel.away_since is None or kernel.state not in (KernelState.DETACHED, KernelState.SUSPENDED):
            return None
        return BootMs(kernel.away_since + self.state.policy.abandon_after_ms)

    # bringing everybody up to date ----------------------------------------------------------------------------------

    def _flush(self, now: Now) -> list[do.Instruction]:
        """Routes first, then what was said, then states, then the replies that stand for them, then records."""
        state = self.state
        routes: list[do.Instruction] = []
        states: list[do.Instruction] = []
        records: list[do.Instruction] = []
        replied = {reply.link_id for reply in state.replies if not reply.message.code}  # type: ignore[union-attr]
        for kernel_id in state.touched:
            kernel = state.kernels.get(kernel_id)
            if kernel is None or kernel.ended:
                self._forget(kernel_id, kernel, states, now)
                continue
            self._route(kernel, routes)
            if kernel.link_id is not None and state.welcomed.get(kernel.id) != (view := self.view(kernel, now)):
                states.append(do.ToClientLink(kernel.link_id, State(kernel=view)))
            if kernel.state is KernelState.ATTACHED and kernel.notice and kernel.link_id in replied:
                kernel.notice = ""  # the state that was just sent has told it
            self._save(kernel, records)
            state.timers.set(f"kernel {kernel.id}", self._next_deadline(kernel, now))
        done = [*routes, *state.out, *states, *state.replies, *state.closes, *records]
        state.out, state.replies, state.closes = [], [], []
        state.touched.clear()
        state.welcomed.clear()
        state.timers.set(MONTH_TIMER, state.calendar.next_month_at)  # a tick is all it takes
        return done

    def _forget(self, kernel_id: str, kernel: Kernel | None, states: list[do.Instruction], now: Now) -> None:
        self._saved.pop(kernel_id, None)
        self._routes.pop(kernel_id, None)
        if kernel is None:
            return
        if kernel.link_id is not None:
            states.append(do.ToClientLink(kernel.link_id, State(kernel=self.view(kernel, now))))
            kernel.link_id = None
        self.state.timers.set(f"kernel {kernel.id}", kernel.pending.deadline if kernel.pending else None)

    def _route(self, kernel: Kernel, routes: list[do.Instruction]) -> None:
        agent = self.state.agents.get(kernel.agent_id or "")
        asked = kernel.pending.question if kernel.pending is not None else None
        is_open = kernel.state is KernelState.ATTACHED and asked not in ("release", "end")
        route = do.SetRoute(kernel.id, kernel.incarnation, agent.owner if agent else "", is_open)
        if self._routes.get(kernel.id) != route:
            self._routes[kernel.id] = route
            routes.append(route)

    def _save(self, kernel: Kernel, records: list[do.Instruction]) -> None:
        record = kernel.to_record()
        if self._saved.get(kernel.id) != record:
            self._saved[kernel.id] = record
            records.append(do.SaveKernel(record))

    def _next_deadline(self, kernel: Kernel, now: Now) -> BootMs | None:
        idle = idle_deadline(kernel, self.state.policy) if self.state.link_of(kernel.agent_id) is not None else None
        return earliest(
            kernel.pending.deadline if kernel.pending is not None else None,
            kernel.queue_abandoned_at if kernel.state is KernelState.QUEUED else None,
            idle.at if idle is not None and kernel.release_wish is None else None,
            self._abandoned_at(kernel),
            budget.warns_at(kernel, now.boot),
        )

    # starting again -------------------------------------------------------------------------------------------------

    def restore(
        self,
        kernels: Iterable[KernelRecord],
        leases: Iterable[LeaseRecord],
        unconfirmed: Iterable[LeaseRecord],
        money: MoneyRecord,
        now: Now,
        drains: Iterable[DrainRecord] = (),
    ) -> list[do.Instruction]:
        """Take up what the ledger knows. Leases wait for their agents as if those had just been lost."""
        state = self.state
        state.calendar.month = max(state.calendar.month, money.month_began or state.calendar.month)
        now = state.calendar.steady(now)
        self._restore_purses(money)
        for record in kernels:
            kernel = state.kernels[record.id] = _kernel_from(record, now)
            state.give_purse(kernel)
            kernel.account.spent, kernel.account.spent_simulated = money.kernels.get(record.id, (0, 0))
            self._saved[record.id] = record
        for lease_record in unconfirmed:
            state.await_proof(state.kernels.get(lease_record.kernel_id), lease_record, None, now)
        for lease_record in leases:
            holder = state.kernels.get(lease_record.kernel_id)
            kernel = holder or _deleted_holder(lease_record)
            state.kernels[kernel.id] = kernel
            state.give_purse(kernel)
            kernel.lease = _lease_from(lease_record, now)
            kernel.agent_id, kernel.agent_name = lease_record.agent_id, lease_record.agent_name
            state.hold(kernel.lease)
        draining.restore(state, drains, now)
        for kernel in state.kernels.values():
            self._restore_state(kernel, now)
            state.touch(kernel)
        return self._flush(now)

    def restore_savings(self, savings: Mapping[str, KernelsSavings], now: Now) -> None:
        """What releasing had saved each kernel, by the ledger. A gap that began before is measured by wall time."""
        for kernel_id, known in savings.items():
            kernel = self.state.kernels.get(kernel_id)
            if kernel is None:
                continue
            gap = None
            if kernel.lease is None and known.last is not None:
                gap = Gap(known.last, min(now.boot, now.boot_at(known.closed_at)))
            kernel.savings = Savings(known.saved, known.saved_simulated, gap)

    def _restore_purses(self, money: MoneyRecord) -> None:
        for limit in money.limits:
            self.state.purse_of(limit.user).limits[limit.scope, limit.set_by] = limit
        for (user, simulated), cost in money.ever.items():
            self.state.purse_of(user).tally(simulated=simulated).ever = cost
        for (user, simulated), cost in money.month.items():
            self.state.purse_of(user).tally(simulated=simulated).month = cost

    def _restore_state(self, kernel: Kernel, now: Now) -> None:
        state = self.state
        lives = kernel.lease is not None or kernel.incarnation is not None
        if lives and kernel.agent_id is not None and kernel.agent_id not in state.agents:
            state.agents[kernel.agent_id] = Agent(kernel.agent_id, kernel.agent_name, "", lost_at=now.boot)
            state.timers.set(f"agent {kernel.agent_id}", now.boot_in(state.policy.vanish_after_ms))
        if kernel.ended:
            return
        if kernel.lease is None:
            kernel.keep_no_longer()
            rest = KernelState.DETACHED if kernel.incarnation is None else KernelState.SUSPENDED
            kernel.state = rest
        elif kernel.state not in HOLDS_GPU:  # the lease was committed, the kernel's new state was not
            kernel.state = KernelState.STARTING
        if kernel.state is KernelState.STARTING:
            kernel.pending = Pending("bind", "", now.boot_in(state.policy.answer_patience_ms))


def _deleted_holder(lease: LeaseRecord) -> Kernel:
    """The kernel of a lease that was deleted before its agent had confirmed that nothing is held."""
    kernel = Kernel(lease.kernel_id, lease.user, "", GpuSpec(()), lease.opened_at)
    kernel.state, kernel.agent_id = KernelState.TERMINATED, lease.agent_id
    return kernel


def _kernel_from(record: KernelRecord, now: Now) -> Kernel:
    try:
        spec = parse_gpu_spec(record.spec)
    except PerijoveError:
        spec = GpuSpec(())
    kernel = Kernel(record.id, record.user, record.name, spec, record.created_at, record.state)
    kernel.own_timeout_ms, kernel.incarnation = record.idle_timeout_ms, record.incarnation
    kernel.agent_id, kernel.agent_name = record.agent_id, record.agent_name
    kernel.keepable, kernel.notice = record.keepable, record.notice
    kernel.notebook = record.notebook
    kernel.account.budget = record.budget_nanodollars
    kernel.keep_extra_ms = record.keep_extra_ms
    if record.kept_until is not None:
        kernel.keep_until(min(now.boot_at(record.kept_until), now.boot_in(MOST_KEEP_S * 1000)), now)
    kernel.away_since = kernel.active_at = now.boot
    return kernel


def _lease_from(record: LeaseRecord, now: Now) -> Lease:
    """The boot clock may be another one since the lease was opened; wall time says how long ago that was."""
    age_ms = max(record.durations.total_ms, now.wall - WallMs(record.opened_at))
    meter = Meter(BootMs(now.boot - age_ms), proven=record.durations, shown_at=now.boot, phase=Phase.IDLE)
    meter.stop()
    return Lease(record, meter)
