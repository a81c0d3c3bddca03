"""Prepaid shares: how long a lease may run on the budgets that several kernels of a user draw on at once.

Each lease is granted a slice ahead of what it has proven, and more with each renewal: an allowance's worth while there
is plenty, a fair share when it gets scarce. What was granted is spent as far as anybody else is concerned, so that

    proven + what open leases may still run on what they were granted + what is held back  <=  the limit

whatever the network, the agents or the broker do meanwhile. Agents enforce what they were told by their own clock. Who
was granted much while there was plenty is asked to give some back when others run short; it counts as granted until
the agent's report says that it goes by less, as the agent may be out of contact.
"""

from __future__ import annotations

from .policy import Policy
from .purse import LimitRecord, Purse
from .records import Lease


def grant(lease: Lease, purse: Purse, kernel_limit_ms: int | None, policy: Policy) -> int | None:
    """How long the lease may run altogether, for its agent to be told at once. None: no limit."""
    share = _share_ms(lease, purse, policy)
    limits = [limit for limit in (kernel_limit_ms, share) if limit is not None]
    lease.tell_limit(min(limits) if limits else None)
    return lease.told_ms


def _share_ms(lease: Lease, purse: Purse, policy: Policy) -> int | None:
    """What it has, and a slice ahead of what it has proven, as far as the tightest limit has something to give."""
    limits, rate = purse.shared_limits, lease.record.nanodollars_per_ms
    if not limits or rate == 0:
        return None
    proven_ms = lease.meter.proven.total_ms
    ahead_ms = min(_slice_ms(lease, purse, limit, policy) for limit in limits)
    has_ms = 0 if lease.told_ms is None else min(lease.told_ms - proven_ms, most_slice_ms(policy))
    return proven_ms + max(ahead_ms, has_ms, 0)


def _slice_ms(lease: Lease, purse: Purse, limit: LimitRecord, policy: Policy) -> int:
    simulated, rate = lease.record.simulated, lease.record.nanodollars_per_ms
    left = purse.left(limit, simulated=simulated)
    fair_ms = max(0, left) // purse.rate(simulated=simulated)
    free_ms = max(0, left - purse.granted(simulated=simulated, beside=lease)) // rate
    if lease.told_ms is None:  # it ran without a limit until now; its share comes out of what all of them have
        free_ms = max(free_ms, fair_ms)
    return min(_wanted_ms(fair_ms, policy), free_ms)


def _wanted_ms(fair_ms: int, policy: Policy) -> int:
    """Half of what is left for all is kept for whoever comes next; the last renewals' worth is not divided so."""
    return min(most_slice_ms(policy), max(fair_ms // 2, min(fair_ms, least_slice_ms(policy))))


def most_slice_ms(policy: Policy) -> int:
    """More than the allowance: an agent without contact stops for that reason, and not for money there is."""
    return policy.vanish_after_ms


def least_slice_ms(policy: Policy) -> int:
    """Enough until the next renewal, and for its way."""
    return policy.renew_every_ms + 2_000


def is_promised_twice(purse: Purse, *, simulated: bool) -> bool:
    """Whether leases were told more than there is: a limit was set or lowered, or one lease was not known of.

    What is held back does not count here: after a restart it is a guess, and a guess stops no cell.
    """
    told = sum(_told_ahead(lease) for lease in purse.open_leases(simulated=simulated))
    return any(
        told > max(0, limit.nanodollars - purse.spent(limit.scope, simulated=simulated))
        for limit in purse.shared_limits
    )


def fair_share_ms(purse: Purse, *, simulated: bool) -> int:
    """How long all open leases can run on if they share what is left evenly; 0 where nothing runs or is limited."""
    rate, limits = purse.rate(simulated=simulated), purse.shared_limits
    if rate == 0 or not limits:
        return 0
    return max(0, min(purse.left(limit, simulated=simulated) for limit in limits)) // rate


def cut_down(purse: Purse, *, simulated: bool) -> list[Lease]:
    """Leave each lease at most what is its own if all are to have the same time; returns those that lose something.

    It is exact for agents that are in contact; another goes by what it was told before, at most until its allowance is
    used up (docs/billing.md, "Never more than a second over").
    """
    fair_ms = fair_share_ms(purse, simulated=simulated)
    return [lease for lease in purse.open_leases(simulated=simulated) if _leave(lease, fair_ms)]


def runs_short(lease: Lease, purse: Purse, policy: Policy) -> bool:
    """Whether a lease whose agent has just renewed could not be granted what is due to it, as others hold too much."""
    fair_ms = fair_share_ms(purse, simulated=lease.record.simulated)
    if lease.told_ms is None or fair_ms < least_slice_ms(policy):
        return False  # what is so little lasts only until agents have been asked
    return lease.told_ms - lease.meter.proven.total_ms < _wanted_ms(fair_ms, policy)


def give_back(lease: Lease, purse: Purse, policy: Policy) -> bool:
    """Ask a lease that was granted well over its share for what is beyond it; says whether it is to be told so."""
    fair_ms = fair_share_ms(purse, simulated=lease.record.simulated)
    if fair_ms < least_slice_ms(policy) or lease.goes_by_ms != lease.told_ms:
        return False  # too little to ask for, or it was asked and has not said yet that it heard
    return _told_ahead_ms(lease) > fair_ms + least_slice_ms(policy) and _leave(lease, fair_ms)


def _leave(lease: Lease, most_ahead_ms: int) -> bool:
    most_ms = lease.meter.proven.total_ms + most_ahead_ms
    if lease.told_ms is None or lease.told_ms <= most_ms or not lease.record.nanodollars_per_ms:
        return False
    lease.tell_limit(most_ms)
    return True


def _told_ahead_ms(lease: Lease) -> int:
    return 0 if lease.told_ms is None else max(0, lease.told_ms - lease.meter.proven.total_ms)


def _told_ahead(lease: Lease) -> int:
    return _told_ahead_ms(lease) * lease.record.nanodollars_per_ms
