"""What follows for a user's other kernels when the user's money changes: a limit is set, a lease opens or closes, a
month begins. What was promised twice is cut down, who runs short is offered more, who waits in vain waits no longer.
"""

from __future__ import annotations

from ...wire.control import Limit
from ...wire.models import BudgetScope, KernelState
from . import budget
from . import instructions as do
from .calendar import month_of
from .clock import Now
from .events import LimitSet
from .prepaid import cut_down, give_back, grant, is_promised_twice, least_slice_ms, runs_short
from .purse import LimitRecord, Purse
from .records import Kernel, Lease
from .state import FleetState
from .wishes import leave_queue


def set_limit(state: FleetState, event: LimitSet, now: Now) -> None:
    """Holds from now on, for all kernels of the user."""
    purse = state.purse_of(event.user)
    if event.nanodollars is None:
        if purse.limits.pop((event.scope, event.set_by), None) is None:
            return
        state.out.append(do.ForgetLimit(event.user, event.scope, event.set_by))
    else:
        limit = LimitRecord(event.user, event.scope, event.set_by, event.nanodollars, event.by, now.wall)
        purse.limits[event.scope, event.set_by] = limit
        state.out.append(do.SaveLimit(limit))
    kernels = _kernels_of(state, purse)
    for kernel in kernels:
        kernel.account.cap = purse.limit(BudgetScope.KERNEL)
    _cut_down(state, purse)
    for kernel in kernels:
        _tell(state, kernel)
    _look_after_others(state, kernels, now)


def open_month_if_due(state: FleetState, now: Now) -> None:
    """A month begins once: what was proven until now is the old one's, what is proven from now on the new one's."""
    start = month_of(now.wall)
    if start <= state.calendar.month:
        return
    state.calendar.month = start
    proven = {}
    for purse in state.purses.values():
        purse.month, purse.real.month, purse.simulated.month = start, 0, 0
        for lease in purse.leases.values():
            lease.month_begins()
            proven[lease.record.id] = lease.meter.proven
        state.drawn.add(purse.user)
    for unconfirmed in state.closed_unconfirmed.values():
        unconfirmed.month_begins()
        proven[unconfirmed.lease.id] = unconfirmed.lease.durations
    state.out.append(do.OpenMonth(start, proven))


def share_out(state: FleetState, now: Now) -> None:
    """After an event: look after the kernels of all users whose money was drawn on or has become more."""
    users, state.drawn = state.drawn, set()
    for user in users:
        purse = state.purse_of(user)
        if not purse.limits:
            continue
        kernels = _kernels_of(state, purse)
        _cut_down(state, purse)
        _even_out(state, purse)
        for kernel in kernels:
            if _needs_more_soon(state, kernel, now):
                _tell(state, kernel)
        _look_after_others(state, kernels, now)


def _kernels_of(state: FleetState, purse: Purse) -> list[Kernel]:
    return [kernel for kernel in state.kernels.values() if kernel.purse is purse]


def _cut_down(state: FleetState, purse: Purse) -> None:
    for simulated in (False, True):
        if is_promised_twice(purse, simulated=simulated):
            for lease in cut_down(purse, simulated=simulated):
                _say_limit(state, lease)


def _even_out(state: FleetState, purse: Purse) -> None:
    """Where a lease runs short, those that were granted much while there was plenty give back."""
    leases = list(purse.leases.values())
    for simulated in {lease.record.simulated for lease in leases if runs_short(lease, purse, state.policy)}:
        for lease in purse.open_leases(simulated=simulated):
            agent = state.agents.get(lease.record.agent_id)
            hears = agent is not None and agent.link_id is not None and agent.tells_limits
            if hears and give_back(lease, purse, state.policy):
                _say_limit(state, lease)


def _say_limit(state: FleetState, lease: Lease) -> None:
    record = lease.record
    limit = Limit(kernel_id=record.kernel_id, lease_id=record.id, limit_ms=lease.told_ms)
    state.tell_agent(record.agent_id, limit)


def _needs_more_soon(state: FleetState, kernel: Kernel, now: Now) -> bool:
    """It may come to the end of what it was granted before its agent renews."""
    lease = kernel.lease
    if lease is None or lease.told_ms is None or not lease.meter.running:
        return False
    return lease.told_ms - lease.meter.at(now.boot).total_ms < least_slice_ms(state.policy)


def _tell(state: FleetState, kernel: Kernel) -> None:
    """Grant the kernel's lease what it may have now, and say so at once where that is something else than before."""
    lease = kernel.lease
    if lease is None or state.link_of(lease.record.agent_id) is None:
        return  # its agent renews as soon as it is back
    before = lease.told_ms
    limit_ms = grant(lease, kernel.purse, budget.kernel_limit_ms(kernel), state.policy)
    if limit_ms != before:
        _say_limit(state, lease)


def _look_after_others(state: FleetState, kernels: list[Kernel], now: Now) -> None:
    for kernel in kernels:
        if kernel.ended or (kernel.link_id is None and kernel.lease is None and kernel.state is not KernelState.QUEUED):
            continue  # nobody looks at it, and nothing of it changes
        state.touch(kernel)
        waits = kernel.state is KernelState.QUEUED and kernel.pending is None
        if waits and (why := budget.refusal(kernel, now.boot, state.money_for(kernel))):
            leave_queue(state, kernel, budget.CODE, why)


def set_kernel_budget(state: FleetState, kernel: Kernel, nanodollars: int | None, now: Now) -> None:
    """Holds from now on: the agent hears of it at once, and who waits for what cannot be paid waits no more."""
    kernel.account.budget = nanodollars
    _tell(state, kernel)
    _look_after_others(state, [kernel], now)
