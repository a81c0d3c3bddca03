"""Months in the books: a month is opened once, with a checkpoint of every lease that more may be proven of.

So a bill since the first of a month is exact, and is what the month's budget counts: what was proven until a month was
opened is the old one's, and all that is proven after that the new one's, even if it was served before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection, func, select

from ..core.calendar import month_of
from ..core.clock import WallMs
from ..core.meter import Durations
from ..core.records import LeaseRecord, MoneyRecord
from . import books
from .bill import BillRequest, Present, build_bill, checkpoints_of
from .course import Course, Period
from .limits import known_limits
from .tables import leases, months


def open_month_of(connection: Connection, wall: WallMs) -> WallMs:
    """When the month began that is open now; it is opened if need be. A clock that has gone back opens none anew."""
    newest = connection.execute(select(func.max(months.c.start))).scalar_one()
    start = month_of(wall)
    if newest is not None and newest >= start:
        return WallMs(newest)
    unfinished = [*books.open_leases(connection), *books.unconfirmed_leases(connection, wall)]
    books.open_month(connection, start, {lease.id: lease.durations for lease in unfinished})
    return start


def with_earlier_months(
    connection: Connection, found: list[LeaseRecord], start: WallMs, now: WallMs
) -> list[LeaseRecord]:
    """The same leases, and how much of each was proven before the month began."""
    ran_before = _ran_before(connection, found, start, now)
    return [replace(lease, before_month=ran_before.get(lease.id, lease.before_month)) for lease in found]


def _ran_before(
    connection: Connection, found: list[LeaseRecord], start: WallMs, now: WallMs
) -> Mapping[str, Durations]:
    older = {lease.id: lease for lease in found if lease.opened_at < start}
    return {
        lease_id: Course.of(
            older[lease_id].opened_at, checkpoints, WallMs(max(now, start + 1)), older[lease_id].durations
        ).at(start)
        for lease_id, checkpoints in checkpoints_of(connection, list(older)).items()
    }


def money(connection: Connection, start: WallMs, now: WallMs) -> MoneyRecord:
    """What closed leases have cost, ever and since the month began, and what users may spend."""
    month: dict[tuple[str, bool], int] = defaultdict(int)
    for line in build_bill(connection, Present(now), BillRequest(Period(start))).leases:
        if line.closed_at is not None:
            month[line.user, line.simulated] += line.cost_nanodollars
    return MoneyRecord(
        kernels=books.spent_by_kernel(connection),
        ever=_ever(connection),
        month=dict(month),
        month_began=start,
        limits=known_limits(connection),
    )


def _ever(connection: Connection) -> dict[tuple[str, bool], int]:
    ran_ms = leases.c.starting_ms + leases.c.busy_ms + leases.c.idle_ms
    cost = leases.c.price_microdollars_per_second * leases.c.count * ran_ms
    query = (
        select(leases.c.user, leases.c.simulated, func.sum(cost))
        .where(leases.c.closed_at.is_not(None))
        .group_by(leases.c.user, leases.c.simulated)
    )
    return {(user, bool(simulated)): int(total) for user, simulated, total in connection.execute(query)}
