"""When an attached kernel's GPU goes back (docs/lifecycle.md, "When a GPU goes back by itself")."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perijove.broker.core.clock import BootMs
from perijove.broker.core.idle import Activity, release_deadline
from perijove.broker.core.policy import Policy

POLICY = Policy()
T0 = BootMs(1_000_000)


def due_in_s(**known: object) -> float | None:
    deadline = release_deadline(Activity(**{"quiet_since": T0, "keepable": True, **known}), POLICY)  # type: ignore[arg-type]
    return None if deadline is None else (deadline.at - T0) / 1000


def test_sixty_seconds_where_variables_are_kept_ten_minutes_where_not() -> None:
    assert due_in_s() == 60
    assert due_in_s(keepable=False) == 600


def test_a_kernels_own_timeout_goes_before_both() -> None:
    assert due_in_s(own_timeout_ms=5000) == 5
    assert due_in_s(own_timeout_ms=5000, keepable=False) == 5


def test_a_busy_kernel_is_never_released_by_time() -> None:
    assert due_in_s(quiet_since=None, away_since=T0) is None


def test_fifteen_seconds_once_the_client_is_away() -> None:
    assert due_in_s(away_since=T0) == 15
    assert due_in_s(away_since=BootMs(T0 + 20_000)) == 35
    assert due_in_s(away_since=BootMs(T0 - 900_000)) == 15, "counted from when it became idle"
    assert due_in_s(away_since=T0, keepable=False) == 15


def test_a_busy_notebook_counts_for_half_an_hour() -> None:
    assert due_in_s(local_busy_since=T0) == 30 * 60 + 60


def test_a_notebook_that_was_busy_when_it_fell_silent_has_the_benefit_of_the_doubt() -> None:
    assert due_in_s(local_busy_since=T0, away_since=T0) == 15, "nothing is lost by it"
    assert due_in_s(local_busy_since=T0, away_since=T0, keepable=False) == 600


moments = st.integers(0, 10_000_000).map(BootMs)


@given(quiet=moments, away=st.none() | moments, local=st.none() | moments, keepable=st.booleans())
def test_never_before_it_was_quiet_for_the_shortest_timeout(
    quiet: BootMs, away: BootMs | None, local: BootMs | None, keepable: bool
) -> None:
    deadline = release_deadline(Activity(quiet, keepable, local, away), POLICY)
    assert deadline is not None
    assert deadline.at >= quiet + POLICY.away_timeout_ms
    assert deadline.reason
