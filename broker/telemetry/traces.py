"""Traces of attaches, as the broker sees them, told from the core's events and instructions: the core knows of none.

An ``attach`` lasts from the asking to the reply. Below it are ``queued`` and ``starting``, more than once where a bind
failed and another was tried. A kernel has one of them at a time, whoever of its clients waits for it: it is below the
attach that was asked for first. The agent's ``bind`` goes on below ``starting``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...wire.control import Bind, BindFailed, ProcessEnded, Released
from ...wire.errors import AttachFailed
from ...wire.link import AttachRequest, Reply
from ...wire.models import KernelState
from ...wire.tracing import NOT_TRACED, Span, Tracer, Value
from ..core import instructions as do
from ..core.events import AgentSaid, ClientSaid, FleetEvent
from ..core.fleet import Fleet
from ..core.records import Kernel, LeaseRecord

ABANDONED = "abandoned"  # nobody waits for the answer any more
_ON_ITS_WAY = (KernelState.QUEUED, KernelState.STARTING)


@dataclass(slots=True)
class _Trail:
    """The open attaches of one kernel."""

    attaches: dict[str, Span] = field(default_factory=dict)  # by request, the oldest first
    queued: Span = NOT_TRACED
    starting: Span = NOT_TRACED
    lease_id: str = ""  # of ``starting``
    reason: str = ""  # why it waits, as last noted


class Traces:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._trails: dict[str, _Trail] = {}

    def happened(self, event: FleetEvent, instructions: Sequence[do.Instruction], fleet: Fleet) -> list[do.Instruction]:
        """After an event was dealt with, and before what it led to is done: a bind is told which trace it is of."""
        if isinstance(event, ClientSaid) and isinstance(event.message, AttachRequest):
            self._asked(event.kernel_id, event.message, fleet)
        if not self._trails:
            return list(instructions)
        binds, replies = _binds(instructions), _replies(instructions)
        traceparents: dict[str, str] = {}  # by lease
        for kernel_id, trail in list(self._trails.items()):
            kernel, bind = fleet.kernel(kernel_id), binds.get(kernel_id)
            self._follow(trail, kernel, bind, event)
            if bind is not None:
                traceparents[bind.lease_id] = trail.starting.traceparent
            self._close(trail, kernel, replies)
            if not trail.attaches:
                del self._trails[kernel_id]
        return [_stamped(instruction, traceparents) for instruction in instructions]

    def _asked(self, kernel_id: str, request: AttachRequest, fleet: Fleet) -> None:
        kernel = fleet.kernel(kernel_id)
        if kernel is None:
            return
        trail = self._trails.setdefault(kernel_id, _Trail())
        if request.request_id not in trail.attaches:  # a client that links anew asks again
            trail.attaches[request.request_id] = self._tracer.start(
                "attach", request.traceparent, kernel=kernel_id, spec=str(kernel.spec)
            )

    # the kernel's way -------------------------------------------------------------------------------------------

    def _follow(self, trail: _Trail, kernel: Kernel | None, bind: Bind | None, event: FleetEvent) -> None:
        if trail.starting is not NOT_TRACED:
            holds = kernel is not None and kernel.lease is not None and kernel.lease.record.id == trail.lease_id
            if not holds:
                trail.starting = _over(trail.starting, _why_not_started(event))
            elif kernel is not None and kernel.state is KernelState.ATTACHED:
                trail.starting = _over(trail.starting)
        if kernel is not None and (bind is not None or kernel.state is KernelState.QUEUED):
            self._waits(trail, kernel)
        if bind is not None and kernel is not None and kernel.lease is not None:
            trail.queued, trail.reason = _over(trail.queued), ""
            trail.lease_id, resumes = bind.lease_id, bind.incarnation is not None
            trail.starting = _first(trail).child("starting", resumes=resumes, **_about(kernel.lease.record))

    def _waits(self, trail: _Trail, kernel: Kernel) -> None:
        if trail.queued is NOT_TRACED:
            trail.queued = _first(trail).child("queued", spec=str(kernel.spec))
        if kernel.queue_reason and kernel.queue_reason != trail.reason:
            trail.reason = kernel.queue_reason
            trail.queued.note("waits", reason=trail.reason)
            trail.queued.set(reason=trail.reason)

    # the answers ------------------------------------------------------------------------------------------------

    def _close(self, trail: _Trail, kernel: Kernel | None, replies: dict[str, Reply]) -> None:
        """End the attaches that were answered, and those that nobody waits for any more."""
        for request_id, span in list(trail.attaches.items()):
            reply = replies.get(request_id)
            if reply is None and kernel is not None and (request_id in kernel.attaches or kernel.state in _ON_ITS_WAY):
                continue
            attached = kernel is not None and kernel.state is KernelState.ATTACHED
            code = reply.code if reply is not None else "" if attached else ABANDONED
            if kernel is not None and kernel.lease is not None and not code:
                span.set(**_about(kernel.lease.record))
            if len(trail.attaches) == 1:
                trail.queued = _over(trail.queued, code)
                trail.starting = _over(trail.starting, code)
            span.end(code)
            del trail.attaches[request_id]
        if kernel is None or kernel.state is not KernelState.QUEUED:
            trail.queued = _over(trail.queued)


def _first(trail: _Trail) -> Span:
    return next(iter(trail.attaches.values()), NOT_TRACED)


def _over(span: Span, code: str = "") -> Span:
    span.end(code)
    return NOT_TRACED


def _about(lease: LeaseRecord) -> dict[str, Value]:
    return {
        "lease": lease.id,
        "gpu": lease.model,
        "count": lease.count,
        "agent": lease.agent_name,
        "simulated": lease.simulated,
    }


def _why_not_started(event: FleetEvent) -> str:
    """The code of what ended a ``starting``."""
    match event:
        case AgentSaid(message=BindFailed(code=code)):
            return code or AttachFailed.code
        case AgentSaid(message=ProcessEnded()):
            return "process_ended"
        case AgentSaid(message=Released(reason=reason)):
            return reason or "released"
        case _:
            return "agent_lost"


def _binds(instructions: Sequence[do.Instruction]) -> dict[str, Bind]:
    """By kernel."""
    found = {}
    for instruction in instructions:
        if isinstance(instruction, do.ToAgent) and isinstance(instruction.message, Bind):
            found[instruction.message.kernel_id] = instruction.message
    return found


def _replies(instructions: Sequence[do.Instruction]) -> dict[str, Reply]:
    """By request."""
    found = {}
    for instruction in instructions:
        if isinstance(instruction, do.ToClientLink) and isinstance(instruction.message, Reply):
            found[instruction.message.request_id] = instruction.message
    return found


def _stamped(instruction: do.Instruction, traceparents: Mapping[str, str]) -> do.Instruction:
    match instruction:
        case do.ToAgent(link_id, Bind() as bind) if traceparent := traceparents.get(bind.lease_id):
            return do.ToAgent(link_id, bind.model_copy(update={"traceparent": traceparent}))
        case _:
            return instruction
