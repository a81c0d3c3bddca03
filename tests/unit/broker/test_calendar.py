"""The clock that the books go by: months, and a system clock that steps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from perijove.broker.core.calendar import BELIEVED_AFTER_MS, Calendar, month_after, month_name, month_of
from perijove.broker.core.clock import BootMs, Now, WallMs

HOUR_MS = 3_600_000


def wall(text: str) -> WallMs:
    return WallMs(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000))


def later(now: Now, ms: int, step_ms: int = 0) -> Now:
    return Now(BootMs(now.boot + ms), WallMs(now.wall + ms + step_ms))


@pytest.mark.parametrize(
    ("moment", "start", "after", "name"),
    [
        ("2026-11-25T17:55:00", "2026-11-01", "2026-12-01", "2026-11"),
        ("2026-12-31T23:59:59.999", "2026-12-01", "2027-01-01", "2026-12"),
        ("2027-01-01", "2027-01-01", "2027-02-01", "2027-01"),
        ("2028-02-29T12:00:00", "2028-02-01", "2028-03-01", "2028-02"),
    ],
)
def test_months_are_calendar_months_in_utc(moment: str, start: str, after: str, name: str) -> None:
    assert month_of(wall(moment)) == wall(start)
    assert month_after(wall(start)) == wall(after)
    assert month_name(wall(start)) == name


def test_it_follows_a_clock_that_is_slewed() -> None:
    now = Now(BootMs(5_000), wall("2026-11-25"))
    calendar = Calendar.at(now)
    for _ in range(10):
        now = later(now, 60_000, step_ms=300)
        assert abs(calendar.steady(now).wall - now.wall) <= 1_000


def test_a_step_is_believed_only_when_it_has_lasted() -> None:
    now = Now(BootMs(5_000), wall("2026-11-30T12:00:00"))
    calendar = Calendar.at(now)
    stepped = later(now, 1_000, step_ms=24 * HOUR_MS)
    assert calendar.steady(stepped).wall == now.wall + 1_000
    assert calendar.steady(later(stepped, BELIEVED_AFTER_MS - 1)).wall == now.wall + BELIEVED_AFTER_MS + 999
    believed = later(stepped, BELIEVED_AFTER_MS)
    assert calendar.steady(believed).wall == believed.wall


def test_a_step_that_is_taken_back_leaves_no_doubt() -> None:
    now = Now(BootMs(5_000), wall("2026-11-30T12:00:00"))
    calendar = Calendar.at(now)
    calendar.steady(later(now, 1_000, step_ms=24 * HOUR_MS))
    calendar.steady(later(now, 2_000))
    again = later(now, 2 * BELIEVED_AFTER_MS, step_ms=24 * HOUR_MS)
    assert calendar.steady(again).wall == now.wall + 2 * BELIEVED_AFTER_MS


def test_the_time_of_the_books_is_always_after_the_open_months_beginning() -> None:
    now = Now(BootMs(5_000), wall("2026-12-01T00:00:10"))
    calendar = Calendar.at(now)
    calendar.month = wall("2026-12-01")
    assert calendar.steady(later(now, 1_000, step_ms=-30_000)).wall == wall("2026-12-01") + 1


def test_the_next_month_is_due_by_the_boot_clock() -> None:
    now = Now(BootMs(5_000), wall("2026-11-30T23:59:00"))
    assert Calendar.at(now).next_month_at == 65_000
