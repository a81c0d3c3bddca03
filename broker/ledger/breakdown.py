"""A bill broken down by day, GPU type, kernel, notebook or user. Pure; the groups add up to the bill exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from ...wire.models import BillGroup, By, PhaseCosts
from ..core.clock import WallMs
from ..core.meter import Durations
from ..core.records import LeaseRecord
from .course import Course, Period, gap_between, midnights


@dataclass(frozen=True, slots=True)
class LeaseRun:
    lease: LeaseRecord
    closed_at: int | None  # None while open
    course: Course


@dataclass(frozen=True, slots=True)
class GapRun:
    """The time after a lease in which its kernel had none."""

    lease: LeaseRecord
    began: WallMs
    ms: int

    @property
    def simulated(self) -> bool:
        return self.lease.simulated

    @property
    def ended(self) -> WallMs:
        return WallMs(self.began + self.ms)

    def saved(self, period: Period) -> int:
        """In nano-dollars, within a period."""
        return gap_between(self.began, self.ms, period.since, period.until) * self.lease.nanodollars_per_ms


Key = tuple[str, str | None]  # and whose it is


@dataclass(slots=True)
class _Costs:
    """Nano-dollars, by what they were for."""

    starting: int = 0
    busy: int = 0
    idle: int = 0

    def add(self, ran: Durations, nanodollars_per_ms: int) -> None:
        self.starting += ran.starting_ms * nanodollars_per_ms
        self.busy += ran.busy_ms * nanodollars_per_ms
        self.idle += ran.idle_ms * nanodollars_per_ms

    @property
    def total(self) -> int:
        return self.starting + self.busy + self.idle

    def document(self) -> PhaseCosts:
        return PhaseCosts(starting_nanodollars=self.starting, busy_nanodollars=self.busy, idle_nanodollars=self.idle)


@dataclass(slots=True)
class _Sum:
    starting_ms: int = 0
    busy_ms: int = 0
    idle_ms: int = 0
    real: _Costs = field(default_factory=_Costs)
    simulated: _Costs = field(default_factory=_Costs)
    saved: int = 0
    saved_simulated: int = 0

    def add_run(self, lease: LeaseRecord, ran: Durations) -> None:
        self.starting_ms += ran.starting_ms
        self.busy_ms += ran.busy_ms
        self.idle_ms += ran.idle_ms
        (self.simulated if lease.simulated else self.real).add(ran, lease.nanodollars_per_ms)

    def add_gap(self, lease: LeaseRecord, saved: int) -> None:
        if lease.simulated:
            self.saved_simulated += saved
        else:
            self.saved += saved

    def group(self, key: Key) -> BillGroup:
        return BillGroup(
            key=key[0],
            user=key[1],
            starting_ms=self.starting_ms,
            busy_ms=self.busy_ms,
            idle_ms=self.idle_ms,
            cost_nanodollars=self.real.total,
            simulated_nanodollars=self.simulated.total,
            saved_nanodollars=self.saved,
            saved_simulated_nanodollars=self.saved_simulated,
            cost_by_phase=self.real.document(),
            simulated_by_phase=self.simulated.document(),
        )


def broken_down(by: By, runs: Sequence[LeaseRun], gaps: Sequence[GapRun], period: Period) -> list[BillGroup]:
    """Days in their order, all else the dearest first."""
    sums: dict[Key, _Sum] = defaultdict(_Sum)
    for run in runs:
        pieces = [
            (key, run.course.between(since, until))
            for key, since, until in _pieces(by, run.lease, run.course.start, run.course.end, period)
        ]
        # One that has not run for a millisecond is in the bill, too, on its first day.
        for key, ran in [piece for piece in pieces if piece[1].total_ms] or pieces[:1]:
            sums[key].add_run(run.lease, ran)
    for gap in gaps:
        for key, since, until in _pieces(by, gap.lease, gap.began, gap.ended, period):
            if saved := gap.saved(Period(since, until)):
                sums[key].add_gap(gap.lease, saved)
    groups = [found.group(key) for key, found in sums.items()]
    if by == "day":
        return sorted(groups, key=lambda group: group.key)
    return sorted(groups, key=lambda g: (-g.cost_nanodollars - g.simulated_nanodollars, g.key, g.user or ""))


def _pieces(
    by: By, lease: LeaseRecord, start: WallMs, end: WallMs, period: Period
) -> Iterator[tuple[Key, WallMs | None, WallMs | None]]:
    """What something that lasted from ``start`` to ``end`` is put down to, and between which moments."""
    match by:
        case "day":
            cuts = period.cuts(start, end, midnights(start, end))
            for since, until in pairwise(cuts):
                yield (_day(start if since is None else max(start, since)), None), since, until
        case "gpu":
            yield (lease.model + (" (simulated)" if lease.simulated else ""), None), period.since, period.until
        case "kernel":
            yield (lease.kernel_id, lease.user), period.since, period.until
        case "notebook":
            yield (lease.notebook, lease.user), period.since, period.until
        case "user":
            yield (lease.user, lease.user), period.since, period.until


def _day(moment: WallMs) -> str:
    return datetime.fromtimestamp(moment // 1000, UTC).date().isoformat()
