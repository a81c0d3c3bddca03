"""Two kinds of time that must not be mixed: boot time measures, wall time is for people and for the ledger.

Boot time never jumps and keeps counting while a machine sleeps, so deadlines and durations use it. Wall time may jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

BootMs = NewType("BootMs", int)
WallMs = NewType("WallMs", int)  # since 1970, UTC

BOOT_ZERO = BootMs(0)
WALL_ZERO = WallMs(0)


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks, in milliseconds; passed in with every event."""

    boot: BootMs
    wall: WallMs

    def boot_in(self, duration_ms: int) -> BootMs:
        return BootMs(self.boot + duration_ms)

    def boot_at(self, moment: WallMs) -> BootMs:
        """When it is that moment, should no clock jump."""
        return BootMs(self.boot + moment - self.wall)

    def wall_at(self, moment: BootMs) -> WallMs:
        return WallMs(self.wall + moment - self.boot)


def earliest(*moments: BootMs | None) -> BootMs | None:
    """The first of several deadlines, of which some may not exist."""
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None
