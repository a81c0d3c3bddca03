"""Prepaid shares: how long a lease may run on the budgets that several kernels of a user draw on at once.

Each lease is granted a slice ahead of what it has proven, and more with each renewal: an allowance's worth while there
is plenty, a fair share when it gets scarce. What was granted is spent as far as anybody else is concerned, so that

    proven + what open leases may still run on what they were granted + what is held back  <=  the limit

whatever the network, the agents or the broker do meanwhile. Agents enforce what they were told by their own clock.
A grant is not taken back to give it to somebody else: its agent may be out of contact.
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
    # Half of what would be left for all is kept for whoever comes next; the last renewals' worth is not divided so.
    wanted_ms = min(most_slice_ms(policy), max(fair_ms // 2, min(fair_ms, least_slice_ms(policy))))
    if lease.told_ms is None:  # it ran without a limit until now; its share comes out of what all of them have
        return min(wanted_ms, max(free_ms, fair_ms))
    return min(wanted_ms, free_ms)


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


def cut_down(purse: Purse, *, simulated: bool) -> list[Lease]:
    """Leave each lease at most what is its own if all are to have the same time; returns those that lose something.

    The only place where a grant is taken back. It is exact for agents that are in contact; another goes by what it was
    told before, at most until its allowance is used up (docs/billing.md, "Never more than a second over").
    """
    rate = purse.rate(simulated=simulated)
    if rate == 0 or not purse.shared_limits:
        return []
    left = min(purse.left(limit, simulated=simulated) for limit in purse.shared_limits)
    fair_ms = max(0, left) // rate
    cut = []
    for lease in purse.open_leases(simulated=simulated):
        most_ms = lease.meter.proven.total_ms + fair_ms
        if lease.told_ms is not None and lease.told_ms > most_ms and lease.record.nanodollars_per_ms:
            lease.tell_limit(most_ms)
            cut.append(lease)
    return cut


def _told_ahead(lease: Lease) -> int:
    if lease.told_ms is None:
        return 0
    return max(0, lease.told_ms - lease.meter.proven.total_ms) * lease.record.nanodollars_per_ms
