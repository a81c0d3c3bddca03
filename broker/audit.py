"""Who did what, told from the core's events and instructions: a lease that opens or closes has somebody or some rule
behind it, which may have asked a while before.

Who acts is known where a token is checked, and is kept for what happens in that task (``act_as``). Events that nobody
sent at that moment, as ticks and agents' reports, are traced back to who asked, or to the rule that did.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from ..wire.control import Bind, BindFailed, End, NotIdle, ProcessEnded, Release, Released
from ..wire.link import AttachRequest, BudgetRequest, Goodbye, KeepRequest, ReleaseRequest, RestartRequest
from .core import instructions as do
from .core.clock import Now, WallMs
from .core.events import (
    AgentSaid,
    ApiAsked,
    ClientSaid,
    DrainAsked,
    DrainUndone,
    FleetEvent,
    KernelCreated,
    KernelDeleted,
    LimitSet,
    Tick,
)
from .core.fleet import Fleet
from .core.records import LeaseRecord
from .ledger.audit import Action, Actor, AuditEntry, Via

_acting: ContextVar[Actor | None] = ContextVar("perijove_acting", default=None)


def act_as(name: str, via: Via) -> None:
    """From here on, what this task does is done by the owner of a token."""
    _acting.set(Actor(name, via))


def acting() -> Actor | None:
    return _acting.get()


@dataclass(slots=True)
class _Trail:
    """What is known of one kernel that entries need later."""

    user: str
    attaching: Actor | None = None
    releasing: Actor | None = None
    ending: Actor | None = None
    last_request: str = ""  # a client that links anew sends again what was not answered


@dataclass(slots=True)
class Auditor:
    _trails: dict[str, _Trail] = field(default_factory=dict)
    _open: dict[str, LeaseRecord] = field(default_factory=dict)

    def take_up(self, fleet: Fleet) -> None:
        """The kernels and leases that the ledger knew when the broker started."""
        for kernel in fleet.kernels.values():
            self._trails[kernel.id] = _Trail(kernel.user)
            if kernel.lease is not None:
                self._open[kernel.lease.record.id] = kernel.lease.record

    def happened(
        self, event: FleetEvent, instructions: list[do.Instruction], fleet: Fleet, now: Now
    ) -> list[AuditEntry]:
        """What is to be recorded of an event that was dealt with."""
        entries: list[AuditEntry] = []
        self._note(event, entries, now.wall)
        granted: set[str] = set()  # a lease that opens without a Bind is one that only its agent knew of
        for instruction in instructions:
            if isinstance(instruction, do.ToAgent) and isinstance(instruction.message, Bind):
                granted.add(instruction.message.lease_id)
        for instruction in instructions:
            match instruction:
                case do.ToAgent(_, Release() | End() as ask):
                    self._note_release(ask, fleet)
                case do.OpenLease(lease):
                    entries.append(self._attached(lease, asked_for=lease.id in granted))
                case do.CloseLease():
                    entries.extend(self._released(instruction, event, fleet))
                case do.ForgetKernel(kernel_id):
                    entries.append(self._ended(kernel_id, now.wall))
        return entries

    # what was asked -------------------------------------------------------------------------------------------------

    def _note(self, event: FleetEvent, entries: list[AuditEntry], at: WallMs) -> None:
        match event:
            case KernelCreated():
                self._trails[event.kernel_id] = _Trail(event.user)
                detail = {"gpu": str(event.spec), "budget_nanodollars": event.budget_nanodollars}
                actor = acting() or Actor(event.user, Via.API)
                entries.append(AuditEntry(at, actor, Action.CREATE_KERNEL, event.user, event.kernel_id, detail))
            case KernelDeleted():
                if (trail := self._trails.get(event.kernel_id)) is not None:
                    trail.ending = acting() or Actor(trail.user, Via.JUPYTER)
            case DrainAsked():
                actor = acting() or Actor(event.asked_by, Via.API)
                within_s = None if event.within_ms is None else event.within_ms / 1000
                what = {"agent": event.agent_id, "within_s": within_s}
                entries.append(AuditEntry(at, actor, Action.DRAIN_AGENT, "", "", what))
            case DrainUndone():
                actor = acting() or Actor("", Via.API)
                entries.append(AuditEntry(at, actor, Action.UNDRAIN_AGENT, "", "", {"agent": event.agent_id}))
            case ClientSaid() | ApiAsked():
                if (trail := self._trails.get(event.kernel_id)) is not None:
                    self._note_request(event, trail, entries, at)
            case LimitSet():
                actor = acting() or Actor(event.by, Via.JUPYTER)
                detail = {
                    "scope": event.scope.value,
                    "set_by": event.set_by.value,
                    "budget_nanodollars": event.nanodollars,
                }
                entries.append(AuditEntry(at, actor, Action.SET_LIMIT, event.user, detail=detail))
            case AgentSaid(message=NotIdle() as answer):
                if (trail := self._trails.get(answer.kernel_id)) is not None:
                    trail.releasing = None

    def _note_request(self, event: ClientSaid | ApiAsked, trail: _Trail, entries: list[AuditEntry], at: WallMs) -> None:
        kernel_id, message = event.kernel_id, event.message
        hosted = isinstance(event, ClientSaid) and event.link_id.startswith("hosted-")
        actor = acting() or Actor(trail.user, Via.JUPYTER if hosted else Via.LINK)
        match message:
            case AttachRequest():
                trail.attaching = actor
            case ReleaseRequest():
                trail.releasing = actor
            case Goodbye():
                trail.ending = actor
            case RestartRequest() if message.request_id != trail.last_request:
                trail.last_request = message.request_id
                entries.append(AuditEntry(at, actor, Action.RESTART_KERNEL, trail.user, kernel_id))
            case BudgetRequest() if message.request_id != trail.last_request:
                trail.last_request = message.request_id
                detail = {"budget_nanodollars": message.nanodollars}
                entries.append(AuditEntry(at, actor, Action.SET_BUDGET, trail.user, kernel_id, detail))
            case KeepRequest() if message.request_id != trail.last_request:
                trail.last_request = message.request_id
                detail = {"seconds": message.seconds}
                entries.append(AuditEntry(at, actor, Action.KEEP_GPU, trail.user, kernel_id, detail))

    def _note_release(self, ask: Release | End, fleet: Fleet) -> None:
        """The broker has an agent let go: somebody asked, another GPU was asked for, the agent is to be emptied, or the
        kernel is idle."""
        trail = self._trails.get(ask.kernel_id)
        if trail is None or trail.releasing is not None:
            return
        kernel = fleet.kernels.get(ask.kernel_id)
        if isinstance(ask, Release) and kernel is not None and kernel.drain is not None:
            trail.releasing = Actor("drain", Via.RULE)
        elif isinstance(ask, Release) and ask.only_if_idle:
            trail.releasing = Actor("idle", Via.RULE)
        else:
            trail.releasing = trail.ending or trail.attaching

    # what came of it ------------------------------------------------------------------------------------------------

    def _attached(self, lease: LeaseRecord, *, asked_for: bool) -> AuditEntry:
        self._open[lease.id] = lease
        trail = self._trails.get(lease.kernel_id)
        asker = trail.attaching if trail is not None and asked_for else None
        actor = asker or Actor(lease.agent_name, Via.AGENT)
        if trail is not None:
            trail.releasing = None
        detail = {
            **_lease_detail(lease),
            "price_microdollars_per_second": lease.price_microdollars_per_second,
        }
        return AuditEntry(lease.opened_at, actor, Action.ATTACH, lease.user, lease.kernel_id, detail)

    def _released(self, close: do.CloseLease, event: FleetEvent, fleet: Fleet) -> list[AuditEntry]:
        lease = self._open.pop(close.lease_id, None)
        if lease is None:
            return []
        trail = self._trails.get(lease.kernel_id)
        detail: dict[str, object] = {
            **_lease_detail(lease),
            "ran_ms": close.durations.total_ms,
            "cost_nanodollars": close.durations.cost(lease.price_microdollars_per_second, lease.count),
            "confirmed": close.confirmed,
        }
        actor, why = _without_being_asked(lease, event)
        if why:
            detail["why"] = why
        if actor is None and trail is not None:
            actor = trail.releasing or trail.ending
        if trail is not None:
            trail.releasing = None
            if fleet.kernel(lease.kernel_id) is None:
                self._trails.pop(lease.kernel_id, None)
        actor = actor or Actor(lease.agent_name, Via.AGENT)
        return [AuditEntry(close.at, actor, Action.RELEASE, lease.user, lease.kernel_id, detail)]

    def _ended(self, kernel_id: str, at: WallMs) -> AuditEntry:
        trail = self._trails.get(kernel_id, _Trail(""))
        if not any(lease.kernel_id == kernel_id for lease in self._open.values()):
            self._trails.pop(kernel_id, None)  # otherwise its lease is still to be closed
        actor = trail.ending or Actor("abandoned", Via.RULE)
        return AuditEntry(at, actor, Action.END_KERNEL, trail.user, kernel_id)


def _without_being_asked(lease: LeaseRecord, event: FleetEvent) -> tuple[Actor | None, str]:
    """Who ended a lease although the broker had not asked for it, and why if that is not a rule's name."""
    match event:
        case AgentSaid(message=Released() as released) if released.reason:
            return Actor(released.reason, Via.RULE), ""  # "budget" or "allowance"
        case AgentSaid(message=ProcessEnded()):
            return Actor(lease.agent_name, Via.AGENT), "process_ended"
        case AgentSaid(message=BindFailed()):
            return Actor(lease.agent_name, Via.AGENT), "bind_failed"
        case Tick():
            return Actor("out_of_contact", Via.RULE), ""
        case _:
            return None, ""


def _lease_detail(lease: LeaseRecord) -> dict[str, object]:
    return {
        "lease": lease.id,
        "gpu": lease.model,
        "count": lease.count,
        "agent": lease.agent_name,
        "simulated": lease.simulated,
    }
