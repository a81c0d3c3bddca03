"""The wall clock that the books go by: it follows the machine's, and does not step with it. Months are UTC.

A month's budget is worth what the clock is worth. So a step of the system clock is believed only when it has lasted,
until when time runs on by the boot clock; and a month that has been opened stays open whatever the clock says next, so
that none is opened twice (docs/billing.md, "Months").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from .clock import BootMs, Now, WallMs

FOLLOWED_MS = 1_000  # a difference up to this is not worth a correction
BELIEVED_AT_ONCE_MS = 60_000  # slewing, and a broker that looked seldom
BELIEVED_AFTER_MS = 3_600_000


def month_of(wall: WallMs) -> WallMs:
    """When the month of a moment began."""
    first = _datetime(wall).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return _wall(first)


def month_after(start: WallMs) -> WallMs:
    """When the month after the one that began at ``start`` begins."""
    first = _datetime(start)
    return _wall(first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1))


def month_name(start: WallMs) -> str:
    """``2026-11``."""
    return f"{_datetime(start):%Y-%m}"


@dataclass(slots=True)
class Calendar:
    month: WallMs  # when the open month began
    _offset_ms: int  # from boot time to wall time, as believed
    _doubted_ms: int = 0  # what the system clock says instead, ...
    _doubted_since: BootMs | None = None  # ... since when

    @classmethod
    def at(cls, now: Now) -> Self:
        return cls(month_of(now.wall), now.wall - now.boot)

    def steady(self, now: Now) -> Now:
        """The same moment, with the time of day that the books go by: always after the beginning of the open month."""
        self._follow(now)
        return Now(now.boot, WallMs(max(now.boot + self._offset_ms, self.month + 1)))

    @property
    def next_month_at(self) -> BootMs:
        """When the next month is to be opened, as far as is known now."""
        return BootMs(month_after(self.month) - self._offset_ms)

    def _follow(self, now: Now) -> None:
        seen_ms = now.wall - now.boot
        off_ms = abs(seen_ms - self._offset_ms)
        if off_ms <= FOLLOWED_MS:
            self._doubted_since = None
        elif off_ms <= BELIEVED_AT_ONCE_MS:
            self._believe(seen_ms)
        elif self._doubted_since is None or abs(seen_ms - self._doubted_ms) > BELIEVED_AT_ONCE_MS:
            self._doubted_ms, self._doubted_since = seen_ms, now.boot
        elif now.boot - self._doubted_since >= BELIEVED_AFTER_MS:
            self._believe(seen_ms)

    def _believe(self, offset_ms: int) -> None:
        self._offset_ms, self._doubted_since = offset_ms, None


def _datetime(wall: WallMs) -> datetime:
    return datetime.fromtimestamp(wall // 1000, UTC)


def _wall(moment: datetime) -> WallMs:
    return WallMs(int(moment.timestamp()) * 1000)
