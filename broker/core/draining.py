"""Emptying an agent: it takes no new leases, what is idle there is released, what runs goes on until it is over.

A drain is kept by agent, apart from what is known of agents that are connected: it holds while its agent is away or
unknown, and for the next process that connects under that id. Kernels carry the drain of the agent they are on, so
that their deadlines and views need nothing else (``idle``, ``view``); what waits in the queue is the plan's
(``schedule``), and what variables a drain keeps from their kernel, ``respec``'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...wire.errors import AttachCancelled
from . import instructions as do
from .clock import Now, WallMs
from .events import DrainAsked
from .records import Agent, Drain, DrainRecord, Kernel
from .state import FleetState
from .wishes import leave_queue, settle

TIMER = "drain"


def drain_asked(state: FleetState, event: DrainAsked, now: Now) -> None:
    """Asked again, the newest word counts: who asked, and by when."""
    agent = state.agents.get(event.agent_id)
    known = state.drains.get(event.agent_id)
    name = agent.name if agent is not None else known.agent_name if known is not None else event.agent_id
    release_at = None if event.within_ms is None else WallMs(now.wall + event.within_ms)
    record = DrainRecord(event.agent_id, name, event.asked_by, now.wall, release_at)
    state.out.append(do.SaveDrain(record))
    _begin(state, event.agent_id, _drain_of(record, now))
    enforce(state, event.agent_id, now)


def drain_undone(state: FleetState, agent_id: str) -> None:
    """What an admin has asked for is over; what the agent itself wants is not."""
    drain = state.drains.get(agent_id)
    if drain is None or drain.record is None:
        return
    state.out.append(do.ForgetDrain(agent_id))
    _end(state, agent_id)
    if (agent := state.agents.get(agent_id)) is not None:
        agent_has_said(state, agent)


def agent_has_said(state: FleetState, agent: Agent) -> None:
    """Whether an agent wants to be emptied. What an admin has asked for stands above that."""
    known = state.drains.get(agent.id)
    if known is not None and known.record is not None:
        return
    if agent.draining and known is None:
        _begin(state, agent.id, Drain(agent.name, "the agent itself"))
    elif not agent.draining and known is not None:
        _end(state, agent.id)


def enforce(state: FleetState, agent_id: str, now: Now) -> None:
    """When its time is up, release what is still held there, as ``%gpu release`` does."""
    drain = state.drains.get(agent_id)
    if drain is None or drain.release_at is None or drain.release_at > now.boot:
        return
    for kernel in list(state.kernels.values()):
        if kernel.lease is not None and kernel.agent_id == agent_id and not kernel.ended:
            _release(state, kernel, drain, now)


def _release(state: FleetState, kernel: Kernel, drain: Drain, now: Now) -> None:
    if kernel.attaches:
        leave_queue(state, kernel, AttachCancelled.code, f"{drain}, and its time is up")
    if kernel.release_wish in (None, "idle"):
        kernel.release_wish = "keep"
    settle(state, kernel, now)


def forget(state: FleetState, agent_id: str) -> None:
    """The agent is gone for good, and with it what it has asked for itself."""
    drain = state.drains.get(agent_id)
    if drain is not None and drain.record is None:
        _end(state, agent_id)


def restore(state: FleetState, records: Iterable[DrainRecord], now: Now) -> None:
    for record in records:
        _begin(state, record.agent_id, _drain_of(record, now))


def _drain_of(record: DrainRecord, now: Now) -> Drain:
    """A deadline is kept by the wall clock, the only one that a restart survives."""
    release_at = None if record.release_at is None else max(now.boot, now.boot_at(record.release_at))
    return Drain(record.agent_name, record.asked_by, record, release_at)


def _begin(state: FleetState, agent_id: str, drain: Drain) -> None:
    state.drains[agent_id] = drain
    state.timers.set(f"{TIMER} {agent_id}", drain.release_at)
    _spread(state, agent_id)


def _end(state: FleetState, agent_id: str) -> None:
    del state.drains[agent_id]
    state.timers.set(f"{TIMER} {agent_id}", None)
    _spread(state, agent_id)


def _spread(state: FleetState, agent_id: str) -> None:
    """Deadlines and views of its kernels are others now, and so is the plan."""
    for kernel in state.kernels.values():
        if kernel.agent_id == agent_id:
            kernel.drain = state.drains.get(agent_id)
            state.touch(kernel)
    state.plan_needed = True
