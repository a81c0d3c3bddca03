"""The bill: one line per lease, clipped to a moment, for one user or all.

An open lease shows what the ledger would say if it closed now. ``since`` takes away what each lease had run until then,
read from its own checkpoints and, between two of them, in proportion to time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from ...wire.models import Bill, BillLine
from ..core.clock import WallMs
from ..core.meter import Durations
from ..core.records import LeaseRecord
from .books import durations_of, lease_of
from .tables import lease_events, leases


@dataclass(frozen=True, slots=True)
class LiveLease:
    """An open lease as the core has it now, ahead of the ledger by up to one renewal."""

    record: LeaseRecord
    durations: Durations


Checkpoint = tuple[WallMs, Durations]


def build_bill(
    connection: Connection, live: Sequence[LiveLease], *, now: WallMs, since: WallMs | None, user: str | None
) -> Bill:
    """The bill over all leases that ran after ``since``, oldest first."""
    current = {lease.record.id: lease for lease in live}
    query = select(leases).order_by(leases.c.opened_at, leases.c.id)
    if user is not None:
        query = query.where(leases.c.user == user)
    if since is not None:
        query = query.where(leases.c.closed_at.is_(None) | (leases.c.closed_at > since))
    rows = connection.execute(query).mappings().all()
    clipped = [row["id"] for row in rows if since is not None and row["opened_at"] < since]
    checkpoints = checkpoints_of(connection, clipped)
    lines = []
    for row in rows:
        record, durations, closed_at = lease_of(row), durations_of(row), row["closed_at"]
        if closed_at is None and record.id in current:
            durations = current[record.id].durations
        if since is not None and record.id in checkpoints:
            until = WallMs(closed_at if closed_at is not None else now)
            durations = durations.minus(run_until(since, [*checkpoints[record.id], (until, durations)]))
        lines.append(_line(record, durations, closed_at))
    return Bill(
        total_nanodollars=sum(line.cost_nanodollars for line in lines if not line.simulated),
        simulated_nanodollars=sum(line.cost_nanodollars for line in lines if line.simulated),
        leases=lines,
    )


def run_until(moment: WallMs, checkpoints: Sequence[Checkpoint]) -> Durations:
    """How long a lease had run at a moment, in whole milliseconds, rounded down in each phase."""
    before: Checkpoint | None = None
    for at, durations in checkpoints:
        if at > moment:
            if before is None:
                return Durations()
            return _between(before, (at, durations), moment)
        before = (at, durations)
    return before[1] if before is not None else Durations()


def _between(before: Checkpoint, after: Checkpoint, moment: WallMs) -> Durations:
    (start, low), (end, high) = before, after

    def part(a: int, b: int) -> int:
        return a + max(0, b - a) * (moment - start) // (end - start)

    return Durations(
        part(low.starting_ms, high.starting_ms), part(low.busy_ms, high.busy_ms), part(low.idle_ms, high.idle_ms)
    )


def checkpoints_of(connection: Connection, lease_ids: Sequence[str]) -> Mapping[str, list[Checkpoint]]:
    """What is known of how long these leases had run when, in order."""
    found: dict[str, list[Checkpoint]] = defaultdict(list)
    if lease_ids:
        query = select(lease_events).where(lease_events.c.lease_id.in_(lease_ids)).order_by(lease_events.c.seq)
        for row in connection.execute(query).mappings():
            found[row["lease_id"]].append((WallMs(row["at"]), durations_of(row)))
    return found


def _line(record: LeaseRecord, durations: Durations, closed_at: int | None) -> BillLine:
    return BillLine(
        id=record.id,
        kernel=record.kernel_id,
        user=record.user,
        gpu=record.model,
        count=record.count,
        agent=record.agent_name,
        simulated=record.simulated,
        opened_at=iso(record.opened_at),
        closed_at=None if closed_at is None else iso(closed_at),
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
