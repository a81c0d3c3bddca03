"""Leases and gaps cut into parts: whatever the checkpoints say, the parts add up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from perijove.broker.core.clock import WallMs
from perijove.broker.core.meter import Durations
from perijove.broker.core.records import LeaseRecord
from perijove.broker.ledger.breakdown import GapRun, LeaseRun, broken_down
from perijove.broker.ledger.course import DAY_MS, Course, Period, gap_between, midnights
from perijove.wire.models import BillGroup

MIDNIGHT = WallMs(20_000 * DAY_MS)
HOUR = 3_600_000
durations = st.builds(Durations, st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
moments = st.integers(MIDNIGHT - 3 * DAY_MS, MIDNIGHT + 3 * DAY_MS).map(WallMs)  # the clock may have been set


def lease(**more: object) -> LeaseRecord:
    facts = {
        "id": "lease", "kernel_id": "kernel", "user": "ada", "agent_id": "a", "agent_name": "host-a", "model": "H100",
        "count": 2, "gpus": (), "simulated": False, "price_microdollars_per_second": 1097, "opened_at": MIDNIGHT,
    }  # fmt: skip
    return LeaseRecord(**{**facts, **more})  # type: ignore[arg-type]


def course(start: int, end: int, *checkpoints: tuple[int, Durations], total: Durations) -> Course:
    return Course.of(WallMs(start), [(WallMs(at), ran) for at, ran in checkpoints], WallMs(end), total)


@given(moments, st.lists(st.tuples(moments, durations)), moments, durations, st.lists(moments))
def test_parts_between_any_moments_add_up_and_none_is_less_than_nothing(
    start: WallMs, checkpoints: list[tuple[WallMs, Durations]], end: WallMs, total: Durations, cuts: list[WallMs]
) -> None:
    ran = Course.of(start, checkpoints, end, total)
    parts = [ran.between(since, until) for since, until in pairwise([None, *sorted(cuts), None])]
    assert all(min(part.starting_ms, part.busy_ms, part.idle_ms) >= 0 for part in parts)
    for phase in ("starting_ms", "busy_ms", "idle_ms"):
        assert sum(getattr(part, phase) for part in parts) == getattr(total, phase)
    assert ran.at(start).total_ms == 0
    assert ran.at(WallMs(max(start, end) + 1)) == total


def test_between_two_checkpoints_time_is_spread_evenly_and_rounded_down() -> None:
    ran = course(0, 100, (10, Durations(5, 0, 0)), (50, Durations(5, 33, 7)), total=Durations(5, 60, 10))
    assert ran.at(WallMs(10)) == Durations(5, 0, 0)
    assert ran.at(WallMs(30)) == Durations(5, 16, 3)
    assert ran.at(WallMs(50)) == Durations(5, 33, 7)
    assert ran.between(WallMs(30), WallMs(50)) == Durations(0, 17, 4)


def test_a_clock_that_was_set_back_puts_all_at_one_moment_and_loses_nothing() -> None:
    ran = course(1000, 500, (700, Durations(0, 9, 0)), total=Durations(1, 20, 3))
    assert (ran.start, ran.end) == (1000, 1000)
    assert ran.between(WallMs(1000), None) == Durations(1, 20, 3)
    assert ran.between(None, WallMs(1000)).total_ms == 0


@given(moments, st.integers(0, 5 * DAY_MS), st.lists(moments))
def test_parts_of_a_gap_add_up(began: WallMs, gap_ms: int, cuts: list[WallMs]) -> None:
    bounds = pairwise([None, *sorted(cuts), None])
    assert sum(gap_between(began, gap_ms, since, until) for since, until in bounds) == gap_ms


def test_midnights_are_those_in_between() -> None:
    assert list(midnights(WallMs(MIDNIGHT - 1), WallMs(MIDNIGHT + DAY_MS))) == [MIDNIGHT]
    assert list(midnights(MIDNIGHT, WallMs(MIDNIGHT + 1))) == []


# broken down ----------------------------------------------------------------------------------------------------------


def runs(*records: LeaseRecord, ms: int = HOUR) -> list[LeaseRun]:
    return [
        LeaseRun(r, r.opened_at + ms, course(r.opened_at, r.opened_at + ms, total=Durations(0, ms, 0))) for r in records
    ]


def by_key(groups: list[BillGroup]) -> dict[str, tuple[int, int]]:
    return {group.key: (group.cost_nanodollars, group.simulated_nanodollars) for group in groups}


def test_a_lease_over_midnight_belongs_to_both_days() -> None:
    groups = broken_down("day", runs(lease(opened_at=WallMs(MIDNIGHT - 600_000))), [], Period())
    assert [group.key for group in groups] == ["2024-10-03", "2024-10-04"]
    assert [group.busy_ms for group in groups] == [600_000, HOUR - 600_000]
    assert [group.cost_by_phase.busy_nanodollars for group in groups] == [group.cost_nanodollars for group in groups]
    assert sum(group.cost_nanodollars for group in groups) == HOUR * 2 * 1097


def test_one_that_has_not_run_yet_is_in_the_bill_of_its_day() -> None:
    (group,) = broken_down("day", runs(lease(), ms=0), [], Period())
    assert (group.key, group.cost_nanodollars) == ("2024-10-04", 0)


def test_gpus_of_both_kinds_are_two_types_and_the_dearest_is_first() -> None:
    groups = broken_down("gpu", runs(lease(simulated=True), lease(model="T4", count=3)), [], Period())
    assert by_key(groups) == {"T4": (HOUR * 3 * 1097, 0), "H100 (simulated)": (0, HOUR * 2 * 1097)}
    assert [group.key for group in groups] == ["T4", "H100 (simulated)"]


def test_notebooks_of_two_users_are_two_whatever_they_are_called() -> None:
    records = [lease(user=user, notebook="train.ipynb") for user in ("ada", "bob")]
    groups = broken_down("notebook", runs(*records), [], Period())
    assert [(group.key, group.user) for group in groups] == [("train.ipynb", "ada"), ("train.ipynb", "bob")]


def test_what_a_gap_saves_belongs_to_the_days_it_lasts_and_simulated_money_stays_apart() -> None:
    gaps = [
        GapRun(lease(), WallMs(MIDNIGHT - 1_000), 3_000),
        GapRun(lease(simulated=True), WallMs(MIDNIGHT - 1_000), 500),
    ]
    groups = broken_down("day", [], gaps, Period())
    assert [(g.key, g.saved_nanodollars, g.saved_simulated_nanodollars) for g in groups] == [
        ("2024-10-03", 1_000 * 2 * 1097, 500 * 2 * 1097),
        ("2024-10-04", 2_000 * 2 * 1097, 0),
    ]
    assert broken_down("day", [], gaps, Period(WallMs(MIDNIGHT + 5_000))) == []
