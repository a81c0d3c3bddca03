"""How long a lease ran, in which phase, and what it costs: whole milliseconds and whole nano-dollars.

The agent counts on its own boot clock and reports; the broker caps what it reports by what it saw itself. Between two
reports the meter runs on by the broker's clock, for showing only: a lease closes at what was reported, never at an
estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from ...wire.control import LeaseReport
from ...wire.money import cost_nanodollars
from .clock import BOOT_ZERO, BootMs

# Two clocks of ordinary quality differ by less than 200 ppm; the constant covers rounding and delays in small values.
DRIFT_PER_MILLION = 500
SLACK_MS = 250


class Phase(StrEnum):
    STARTING = "starting"
    BUSY = "busy"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Durations:
    starting_ms: int = 0
    busy_ms: int = 0
    idle_ms: int = 0

    @classmethod
    def of(cls, report: LeaseReport) -> Self:
        return cls(report.starting_ms, report.busy_ms, report.idle_ms)

    @property
    def total_ms(self) -> int:
        return self.starting_ms + self.busy_ms + self.idle_ms

    def plus(self, phase: Phase, ms: int) -> Durations:
        match phase:
            case Phase.STARTING:
                return replace(self, starting_ms=self.starting_ms + ms)
            case Phase.BUSY:
                return replace(self, busy_ms=self.busy_ms + ms)
            case Phase.IDLE:
                return replace(self, idle_ms=self.idle_ms + ms)

    def minus(self, before: Durations) -> Durations:
        """What came after; a phase that was cut since (see ``capped``) is none, and not less than none."""
        return Durations(
            max(0, self.starting_ms - before.starting_ms),
            max(0, self.busy_ms - before.busy_ms),
            max(0, self.idle_ms - before.idle_ms),
        )

    def cost(self, price_microdollars_per_second: int, count: int) -> int:
        """In nano-dollars."""
        return cost_nanodollars(price_microdollars_per_second, count, self.total_ms)


NOTHING = Durations()


def capped(reported: Durations, seen_ms: int) -> Durations:
    """What an agent reported, but no more than passed here; idle time goes first, then busy, then starting."""
    excess = reported.total_ms - (seen_ms + seen_ms * DRIFT_PER_MILLION // 1_000_000 + SLACK_MS)
    if excess <= 0:
        return reported
    idle_cut = min(excess, reported.idle_ms)
    busy_cut = min(excess - idle_cut, reported.busy_ms)
    starting_cut = min(excess - idle_cut - busy_cut, reported.starting_ms)
    return Durations(reported.starting_ms - starting_cut, reported.busy_ms - busy_cut, reported.idle_ms - idle_cut)


@dataclass(slots=True)
class Meter:
    """The running count of one open lease."""

    started: BootMs
    proven: Durations = NOTHING  # by the agent's last report
    shown: Durations = NOTHING  # ... and on by our clock
    shown_at: BootMs = BOOT_ZERO
    phase: Phase = Phase.STARTING
    running: bool = True  # False while the agent is out of contact: nobody knows what runs there

    def __post_init__(self) -> None:
        self.shown, self.shown_at = self.proven, max(self.shown_at, self.started)

    def at(self, now: BootMs) -> Durations:
        """What people are shown."""
        return self.shown.plus(self.phase, max(0, now - self.shown_at)) if self.running else self.shown

    def turn(self, phase: Phase, now: BootMs) -> None:
        """From now on time counts as ``phase``."""
        self.shown, self.shown_at, self.phase = self.at(now), now, phase

    def report(self, reported: Durations, now: BootMs) -> Durations:
        """Take an agent's report; one that goes backwards is an old one and changes nothing."""
        taken = capped(reported, now - self.started)
        if taken.total_ms >= self.proven.total_ms:
            self.proven = self.shown = taken
            self.shown_at = now
        return self.proven

    def stop(self) -> None:
        """Contact is lost: show what is proven until there is a new report."""
        self.running, self.shown = False, self.proven

    def go_on(self, now: BootMs) -> None:
        self.running, self.shown_at = True, now
