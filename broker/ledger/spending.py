"""What users have spent since a moment, found by sums in the database instead of a bill of every lease.

The sums are of milliseconds, by price, which 64 bits hold for ever; what they cost is worked out here, in integers
that do not overflow. Only leases that were open at the moment, or are now, are looked at one by one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ...wire.money import cost_nanodollars
from ..core.clock import WallMs
from .bill import BillRequest, Present, lease_runs
from .course import Period
from .tables import leases


@dataclass(slots=True)
class Spending:
    """Nano-dollars."""

    real: int = 0
    simulated: int = 0

    def add(self, nanodollars: int, *, simulated: bool) -> None:
        if simulated:
            self.simulated += nanodollars
        else:
            self.real += nanodollars


def spending_by_user(connection: Connection, present: Present, since: WallMs) -> dict[str, Spending]:
    """As the bill since then has it, to the nano-dollar."""
    found: dict[str, Spending] = defaultdict(Spending)
    whole = leases.c.closed_at.is_not(None) & (leases.c.opened_at >= since)
    price = (leases.c.price_microdollars_per_second, leases.c.count, leases.c.simulated)
    ran_ms = func.sum(leases.c.starting_ms + leases.c.busy_ms + leases.c.idle_ms)
    query = select(leases.c.user, *price, ran_ms).where(whole).group_by(leases.c.user, *price)
    for user, microdollars_per_second, count, simulated, ms in connection.execute(query):
        cost = cost_nanodollars(microdollars_per_second, count, int(ms))
        found[user].add(cost, simulated=simulated)
    for run in lease_runs(connection, present, BillRequest(Period(since)), only=~whole):
        ms = run.course.between(since, None).total_ms
        found[run.lease.user].add(ms * run.lease.nanodollars_per_ms, simulated=run.lease.simulated)
    return dict(found)
