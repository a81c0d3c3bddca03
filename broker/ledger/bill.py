"""The bill: one line per lease, clipped to a period, for one user or all; and what it is broken down by.

An open lease shows what the ledger would say if it closed now. ``since`` takes away what each lease had run until then,
``until`` what it ran later, read from its own checkpoints and, between two of them, in proportion to time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from ...wire.models import Bill, BillLine, BudgetLeft, By
from ..core.clock import WallMs
from ..core.meter import Durations
from ..core.records import LeaseRecord
from .books import durations_of, lease_of
from .breakdown import GapRun, LeaseRun, broken_down
from .course import EVER, Checkpoint, Course, Period, midnights
from .tables import lease_events, leases


@dataclass(frozen=True, slots=True)
class LiveLease:
    """An open lease as the core has it now, ahead of the ledger by up to one renewal."""

    record: LeaseRecord
    durations: Durations


@dataclass(frozen=True, slots=True)
class Present:
    """What the core knows at one moment and the ledger does not know yet."""

    at: WallMs
    leases: Sequence[LiveLease] = ()
    gaps: Mapping[str, int] = field(default_factory=dict)  # milliseconds since the lease of this id, by kernels' last
    budgets: Sequence[BudgetLeft] = ()


@dataclass(frozen=True, slots=True)
class BillRequest:
    """Which bill. None: no bound, all users, all kernels, no breakdown."""

    period: Period = EVER
    user: str | None = None
    kernels: frozenset[str] | None = None
    by: By | None = None


def build_bill(connection: Connection, present: Present, request: BillRequest) -> Bill:
    """The bill over all leases that ran in the period, oldest first."""
    period = request.period
    ran = lease_runs(connection, present, request)
    gaps = _gap_runs(connection, present, request)
    lines = [_line(run, run.course.between(period.since, period.until)) for run in ran]
    return Bill(
        as_of=iso(present.at),
        total_nanodollars=sum(line.cost_nanodollars for line in lines if not line.simulated),
        simulated_nanodollars=sum(line.cost_nanodollars for line in lines if line.simulated),
        saved_nanodollars=sum(gap.saved(period) for gap in gaps if not gap.simulated),
        saved_simulated_nanodollars=sum(gap.saved(period) for gap in gaps if gap.simulated),
        leases=lines,
        budgets=[
            budget
            for budget in present.budgets
            if request.user in (None, budget.user) and (request.kernels is None or budget.kernel in request.kernels)
        ],
        by=request.by,
        groups=[] if request.by is None else broken_down(request.by, ran, gaps, period),
    )


def lease_runs(
    connection: Connection, present: Present, request: BillRequest, only: ColumnElement[bool] | None = None
) -> list[LeaseRun]:
    """The leases that ran in the period, each with its course; ``only`` some of them."""
    period = request.period
    current = {lease.record.id: lease for lease in present.leases}
    query = _asked_for(select(leases), request).order_by(leases.c.opened_at, leases.c.id)
    if period.since is not None:
        ran_later = leases.c.closed_at.is_(None) | (leases.c.closed_at > period.since)
        query = query.where(ran_later | (leases.c.opened_at >= period.since))  # the clock was set back
    if period.until is not None:
        query = query.where(leases.c.opened_at < period.until)
    if only is not None:
        query = query.where(only)
    rows = connection.execute(query).mappings().all()
    found = []
    for row in rows:
        durations, end = durations_of(row), row["closed_at"]
        if end is None:
            end = present.at
            if (lease := current.get(row["id"])) is not None:
                durations = lease.durations
        found.append((row, durations, WallMs(end)))
    cut = [row["id"] for row, _, end in found if _is_cut(request, WallMs(row["opened_at"]), end)]
    checkpoints = checkpoints_of(connection, cut)
    return [
        LeaseRun(
            lease_of(row),
            row["closed_at"],
            Course.of(WallMs(row["opened_at"]), checkpoints.get(row["id"], ()), end, durations),
        )
        for row, durations, end in found
    ]


def _gap_runs(connection: Connection, present: Present, request: BillRequest) -> list[GapRun]:
    """The gaps between leases, over or not; those without any part in the period save nothing in it."""
    query = _asked_for(select(leases), request).where(leases.c.closed_at.is_not(None))
    over = query.where(leases.c.gap_ms > 0)
    if request.period.since is not None:
        ended = leases.c.closed_at + leases.c.gap_ms > request.period.since
        over = over.where(ended | (leases.c.opened_at >= request.period.since))
    runs = [
        _gap(lease_of(row), row["closed_at"], row["gap_ms"])
        for row in connection.execute(over).mappings()
        if row["id"] not in present.gaps
    ]
    for lease_ids in _in_parts(sorted(present.gaps)):
        for row in connection.execute(query.where(leases.c.id.in_(lease_ids))).mappings():
            runs.append(_gap(lease_of(row), row["closed_at"], present.gaps[row["id"]]))
    return runs


def _gap(lease: LeaseRecord, closed_at: int, gap_ms: int) -> GapRun:
    return GapRun(lease, WallMs(max(lease.opened_at, closed_at)), gap_ms)


def _asked_for(query: Select[tuple[object, ...]], request: BillRequest) -> Select[tuple[object, ...]]:
    if request.user is not None:
        query = query.where(leases.c.user == request.user)
    if request.kernels is not None:
        parts = _in_parts(sorted(request.kernels))
        query = query.where(or_(False, *(leases.c.kernel_id.in_(part) for part in parts)))
    return query


def _is_cut(request: BillRequest, start: WallMs, end: WallMs) -> bool:
    """Whether a part of the lease is asked for, so that its checkpoints matter."""
    bounds = (request.period.since, request.period.until)
    if any(moment is not None and start < moment < end for moment in bounds):
        return True
    return request.by == "day" and next(midnights(start, end), None) is not None


def checkpoints_of(connection: Connection, lease_ids: Sequence[str]) -> Mapping[str, list[Checkpoint]]:
    """What is known of how long these leases had run when, in the order in which it was written."""
    found: dict[str, list[Checkpoint]] = defaultdict(list)
    for part in _in_parts(lease_ids):
        query = select(lease_events).where(lease_events.c.lease_id.in_(part)).order_by(lease_events.c.seq)
        for row in connection.execute(query).mappings():
            found[row["lease_id"]].append((WallMs(row["at"]), durations_of(row)))
    return found


def _in_parts(ids: Sequence[str]) -> list[Sequence[str]]:
    """Databases take a limited number of values in one question."""
    return [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]


MOST_IDS = 10_000


def _line(run: LeaseRun, durations: Durations) -> BillLine:
    record = run.lease
    return BillLine(
        id=record.id,
        kernel=record.kernel_id,
        user=record.user,
        gpu=record.model,
        count=record.count,
        agent=record.agent_name,
        simulated=record.simulated,
        opened_at=iso(record.opened_at),
        closed_at=None if run.closed_at is None else iso(run.closed_at),
        starting_ms=durations.starting_ms,
        busy_ms=durations.busy_ms,
        idle_ms=durations.idle_ms,
        price_microdollars_per_second=record.price_microdollars_per_second,
        cost_nanodollars=durations.cost(record.price_microdollars_per_second, record.count),
    )


def iso(wall_ms: int) -> str:
    """UTC, with milliseconds: ``2026-11-22T01:17:12.034Z``."""
    moment = datetime.fromtimestamp(wall_ms // 1000, UTC).replace(microsecond=wall_ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
