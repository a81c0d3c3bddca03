from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perijove.remote_agent.metering import LeaseMeter, Phase

MS = 1_000_000


def test_time_counts_as_the_phase_it_was_spent_in() -> None:
    meter = LeaseMeter("l", 100 * MS)
    meter.enter(Phase.IDLE, 120 * MS)
    meter.enter(Phase.BUSY, 150 * MS)
    report = meter.report(157 * MS)
    assert (report.starting_ms, report.idle_ms, report.busy_ms) == (20, 30, 7)


def test_a_closed_meter_stands_still() -> None:
    meter = LeaseMeter("l", 0)
    final = meter.close(5 * MS)
    assert meter.report(90 * MS) == final
    meter.enter(Phase.BUSY, 95 * MS)
    assert meter.report(99 * MS) == final


@given(st.lists(st.tuples(st.sampled_from(Phase), st.integers(0, 3 * MS)), max_size=200))
def test_many_short_phases_lose_less_than_a_millisecond_each_kind(steps: list[tuple[Phase, int]]) -> None:
    meter = LeaseMeter("l", 0)
    now = 0
    for phase, spent in steps:
        meter.enter(phase, now)
        now += spent
    report = meter.report(now)
    total = report.starting_ms + report.busy_ms + report.idle_ms
    assert now // MS - 2 <= total <= now // MS


def test_a_clock_that_stands_still_counts_nothing_twice() -> None:
    meter = LeaseMeter("l", 10 * MS)
    assert meter.report(10 * MS) == meter.report(10 * MS)
    assert meter.report(9 * MS).starting_ms == 0


def total(meter: LeaseMeter, now_ns: int) -> int:
    report = meter.report(now_ns)
    return report.starting_ms + report.busy_ms + report.idle_ms


def test_a_second_after_its_limit_a_meter_stands_still() -> None:
    meter = LeaseMeter("l", 0)
    meter.limit(2_000, 100 * MS)
    assert meter.ends_ns == 2_000 * MS
    assert total(meter, 2_400 * MS) == 2_400
    assert total(meter, 9_000 * MS) == 3_000


def test_a_limit_below_what_was_counted_ends_the_lease_now_and_takes_nothing_back() -> None:
    meter = LeaseMeter("l", 0)
    meter.limit(2_000, 5_000 * MS)
    meter.limit(2_000, 5_500 * MS)  # a renewal says it again
    assert meter.ends_ns == 5_000 * MS
    assert total(meter, 9_000 * MS) == 6_000


def test_a_lifted_limit_lets_the_meter_run_on() -> None:
    meter = LeaseMeter("l", 0)
    meter.limit(2_000, 0)
    meter.limit(None, 1_000 * MS)
    assert meter.ends_ns is None
    assert total(meter, 9_000 * MS) == 9_000


def test_a_report_says_which_limit_it_goes_by() -> None:
    meter = LeaseMeter("lease", 0)
    assert meter.report(0).limit_ms is None
    meter.limit(5_000, 0)
    assert meter.report(1).limit_ms == 5_000
    meter.limit(None, 2)
    assert meter.close(3).limit_ms is None
