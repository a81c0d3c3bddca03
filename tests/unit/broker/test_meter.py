"""Durations and costs (docs/billing.md)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perijove.broker.core.clock import BootMs
from perijove.broker.core.meter import DRIFT_PER_MILLION, SLACK_MS, Durations, Meter, Phase, capped

ms = st.integers(0, 10**9)
durations = st.builds(Durations, ms, ms, ms)


def test_a_cost_is_exact() -> None:
    assert Durations(500, 1500, 500).cost(1097, 3) == 8_227_500


@given(durations, ms)
def test_no_more_than_passed_and_idle_time_goes_first(reported: Durations, seen: int) -> None:
    taken = capped(reported, seen)
    most = seen + seen * DRIFT_PER_MILLION // 1_000_000 + SLACK_MS
    assert taken.total_ms == min(reported.total_ms, most)
    if taken.busy_ms < reported.busy_ms:
        assert taken.idle_ms == 0
    if taken.starting_ms < reported.starting_ms:
        assert taken.busy_ms == 0


def test_shows_time_by_phase_between_reports() -> None:
    meter = Meter(BootMs(1000), shown_at=BootMs(1000))
    meter.turn(Phase.BUSY, BootMs(1100))
    meter.turn(Phase.IDLE, BootMs(1400))
    assert meter.at(BootMs(1500)) == Durations(100, 300, 100)
    assert meter.proven == Durations(), "what is shown is not yet proven"


def test_the_agents_report_replaces_the_estimate() -> None:
    meter = Meter(BootMs(1000), shown_at=BootMs(1000), phase=Phase.IDLE)
    assert meter.report(Durations(90, 300, 95), BootMs(1500)) == Durations(90, 300, 95)
    assert meter.at(BootMs(1510)) == Durations(90, 300, 105)


def test_an_older_report_changes_nothing() -> None:
    meter = Meter(BootMs(1000), shown_at=BootMs(1000))
    meter.report(Durations(100, 0, 0), BootMs(1200))
    assert meter.report(Durations(50, 0, 0), BootMs(1300)) == Durations(100, 0, 0)


def test_out_of_contact_only_what_is_proven_is_shown() -> None:
    meter = Meter(BootMs(1000), shown_at=BootMs(1000), phase=Phase.IDLE)
    meter.report(Durations(0, 0, 100), BootMs(1100))
    meter.stop()
    assert meter.at(BootMs(9000)) == Durations(0, 0, 100)
    meter.go_on(BootMs(9000))
    assert meter.at(BootMs(9010)) == Durations(0, 0, 110)


@given(st.lists(st.tuples(st.sampled_from(Phase), st.integers(0, 10_000)), max_size=20))
def test_shown_time_is_all_the_time_there_was(turns: list[tuple[Phase, int]]) -> None:
    meter, now = Meter(BootMs(0)), 0
    for phase, passed in turns:
        now += passed
        meter.turn(phase, BootMs(now))
    assert meter.at(BootMs(now)).total_ms == now
