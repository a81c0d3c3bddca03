"""How a lease ran, and how long its kernel then went without one, as courses over wall time that can be cut anywhere.

A bill is clipped to a period and split into days. The parts must add up to the whole, to the millisecond, whatever the
checkpoints say: between two of them time is spread evenly and rounded down, and the clock on the wall may have been
set in the meantime. So a course never runs backwards, and each part is the difference of two of its values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..core.clock import WallMs
from ..core.meter import NOTHING, Durations

DAY_MS = 24 * 3_600_000

Checkpoint = tuple[WallMs, Durations]


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since`` to just before ``until``; None: no bound."""

    since: WallMs | None = None
    until: WallMs | None = None

    def cuts(self, start: WallMs, end: WallMs, at: Iterable[WallMs] = ()) -> list[WallMs | None]:
        """Where something that lasted from ``start`` to ``end`` is cut: at the bounds, and in between at these."""
        low = start if self.since is None else max(start, self.since)
        high = end if self.until is None else min(end, self.until)
        return [self.since, *(moment for moment in at if low < moment < high), self.until]


EVER = Period()


def midnights(start: WallMs, end: WallMs) -> Iterator[WallMs]:
    """The beginnings of days, UTC, after ``start`` and before ``end``."""
    day = (start // DAY_MS + 1) * DAY_MS
    while day < end:
        yield WallMs(day)
        day += DAY_MS


@dataclass(frozen=True, slots=True)
class Course:
    """How long a lease had run at each moment. ``moments`` never go back, and no phase of ``ran`` ever shrinks."""

    moments: tuple[WallMs, ...]
    ran: tuple[Durations, ...]

    @classmethod
    def of(cls, opened_at: WallMs, checkpoints: Sequence[Checkpoint], end: WallMs, total: Durations) -> Course:
        """From its checkpoints, in the order in which they were written, and what it came to in the end, or by now."""
        end = max(opened_at, end)
        moments, latest = [opened_at], opened_at
        for at, _ in checkpoints:
            latest = max(latest, min(at, end))
            moments.append(latest)
        ran, least = [total], total
        for _, durations in reversed(checkpoints):
            least = _least(least, durations)
            ran.append(least)
        return cls((*moments, end), (NOTHING, *reversed(ran)))

    @property
    def start(self) -> WallMs:
        return self.moments[0]

    @property
    def end(self) -> WallMs:
        return self.moments[-1]

    def at(self, moment: WallMs) -> Durations:
        """How long it had run just before ``moment``, rounded down in each phase."""
        later = bisect_left(self.moments, moment)
        if later == 0:
            return NOTHING
        if later == len(self.moments):
            return self.ran[-1]
        start, end = self.moments[later - 1], self.moments[later]
        low, high = self.ran[later - 1], self.ran[later]

        def part(a: int, b: int) -> int:
            return a + (b - a) * (moment - start) // (end - start)

        return Durations(
            part(low.starting_ms, high.starting_ms), part(low.busy_ms, high.busy_ms), part(low.idle_ms, high.idle_ms)
        )

    def between(self, since: WallMs | None, until: WallMs | None) -> Durations:
        before = NOTHING if since is None else self.at(since)
        after = self.ran[-1] if until is None else self.at(until)
        return Durations(
            after.starting_ms - before.starting_ms, after.busy_ms - before.busy_ms, after.idle_ms - before.idle_ms
        )


def gap_between(began: WallMs, gap_ms: int, since: WallMs | None, until: WallMs | None) -> int:
    """The part of a gap that lies between two moments, in milliseconds."""
    before = 0 if since is None else min(gap_ms, max(0, since - began))
    after = gap_ms if until is None else min(gap_ms, max(0, until - began))
    return max(0, after - before)


def _least(one: Durations, other: Durations) -> Durations:
    return Durations(
        min(one.starting_ms, other.starting_ms), min(one.busy_ms, other.busy_ms), min(one.idle_ms, other.idle_ms)
    )
