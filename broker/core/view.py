"""A kernel as its user sees it. Everything in it is true now; what time will change is counted from now."""

from __future__ import annotations

from ...wire.models import GrantedGpus, KernelState, KernelView, LeaseView
from . import budget
from .clock import BootMs
from .idle import Activity, Deadline, idle_timeout_ms, release_deadline
from .policy import Policy
from .records import Kernel, Lease


def activity_of(kernel: Kernel) -> Activity:
    return Activity(
        quiet_since=kernel.quiet_since,
        keepable=kernel.keepable,
        local_busy_since=kernel.local_busy_since,
        away_since=kernel.away_since,
        own_timeout_ms=kernel.own_timeout_ms,
        kept_until=kernel.kept_until,
        draining=kernel.drain is not None and kernel.lease is not None,
    )


def idle_deadline(kernel: Kernel, policy: Policy) -> Deadline | None:
    """When the kernel's GPU goes back if nothing happens."""
    if kernel.state is not KernelState.ATTACHED or kernel.pending is not None:
        return None
    return release_deadline(activity_of(kernel), policy)


def view_of(kernel: Kernel, policy: Policy, now: BootMs) -> KernelView:
    deadline = idle_deadline(kernel, policy)
    budgets = budget.views(kernel, now)
    return KernelView(
        id=kernel.id,
        name=kernel.name,
        state=kernel.state,
        gpu_spec=str(kernel.spec),
        incarnation=kernel.incarnation,
        gpus=_granted(kernel.lease) if kernel.lease else None,
        lease=lease_view(kernel.lease, now) if kernel.lease else None,
        busy=kernel.busy,
        queue_reason=kernel.queue_reason if kernel.state is KernelState.QUEUED else "",
        release_in_s=None if deadline is None else max(0, deadline.at - now) / 1000,
        idle_timeout_s=idle_timeout_ms(activity_of(kernel), policy) / 1000,
        keep_extra_s=kernel.keep_extra_ms / 1000,
        keeps_state=kernel.keepable,
        saved_nanodollars=kernel.savings.at(now),
        saved_simulated_nanodollars=kernel.savings.simulated_at(now),
        notice=kernel.notice,
        budget_nanodollars=kernel.account.budget,
        spent_nanodollars=budget.spent_at(kernel, now),
        spent_simulated_nanodollars=budget.spent_simulated_at(kernel, now),
        budget_warning=next((applied.warning for applied in budgets if applied.warning), ""),
        budgets=budgets,
        draining=_draining(kernel),
    )


def _draining(kernel: Kernel) -> str:
    """Only where something of the kernel is there: otherwise it is none of its business."""
    there = kernel.lease is not None or kernel.incarnation is not None
    return str(kernel.drain) if there and kernel.drain is not None else ""


def _granted(lease: Lease) -> GrantedGpus:
    record = lease.record
    return GrantedGpus(
        model=record.model,
        count=record.count,
        simulated=record.simulated,
        uuids=list(record.gpus),
        agent_id=record.agent_id,
        agent_name=record.agent_name,
    )


def lease_view(lease: Lease, now: BootMs) -> LeaseView:
    durations = lease.meter.at(now)
    return LeaseView(
        id=lease.record.id,
        price_microdollars_per_second=lease.record.price_microdollars_per_second,
        count=lease.record.count,
        starting_ms=durations.starting_ms,
        busy_ms=durations.busy_ms,
        idle_ms=durations.idle_ms,
        cost_nanodollars=lease.cost_at(now),
    )
