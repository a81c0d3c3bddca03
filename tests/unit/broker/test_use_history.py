"""Five minutes of each device's use: what is kept, what is unknown, what is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perijove.broker.usage.history import FRESH_SECONDS, KEPT_SECONDS, UNKNOWN, UseHistory

LATER = 1_000_000  # a machine that has been up for a while


def test_short_silences_are_bridged_and_long_ones_are_unknown() -> None:
    history = UseHistory()
    for second, percent in ((0, 10.4), (1, 20.0), (3, None), (4, 99.6), (10, 5.0)):
        history.note("a", "gpu", percent, LATER + second)
    told = [10, 20, 20, UNKNOWN, 100, *[UNKNOWN] * 5, 5]
    assert list(history.of("a", "gpu", LATER + 10)) == told
    assert list(history.of("a", "gpu", LATER + 10 + FRESH_SECONDS)) == [*told, *[5] * FRESH_SECONDS]
    assert list(history.of("a", "gpu", LATER + 11 + FRESH_SECONDS)) == [*told, *[UNKNOWN] * (FRESH_SECONDS + 1)]


def test_nothing_known_is_nothing() -> None:
    history = UseHistory()
    assert history.of("a", "gpu", LATER) == b""
    history.note("a", "gpu", None, LATER)
    assert history.of("a", "gpu", LATER) == b""
    history.note("a", "gpu", 50.0, LATER + 1)
    assert history.of("another", "gpu", LATER + 1) == b""  # simulated devices of two agents may be called the same
    assert history.of("a", "gpu", LATER + KEPT_SECONDS + 1) == b""


def test_what_nobody_speaks_of_is_forgotten() -> None:
    history = UseHistory()
    history.note("a", "old", 50.0, LATER)
    history.note("a", "new", 50.0, LATER + 10)
    history.forget(LATER + KEPT_SECONDS)
    assert history.of("a", "old", LATER) == b""
    assert history.of("a", "new", LATER + KEPT_SECONDS) != b""


@given(st.lists(st.tuples(st.integers(0, 2 * KEPT_SECONDS), st.none() | st.floats(-5, 150)), max_size=60))
def test_it_is_what_a_plain_list_of_all_seconds_would_be(said: list[tuple[int, float | None]]) -> None:
    history, known = UseHistory(), dict[int, float | None]()
    second = LATER
    for after, percent in said:
        if after <= FRESH_SECONDS and second in known:
            known |= dict.fromkeys(range(second + 1, second + after), known[second])
        second += after
        history.note("a", "gpu", percent, second)
        known.setdefault(second, percent)
    kept = [known.get(second - before) for before in reversed(range(KEPT_SECONDS))]
    expected = bytes(UNKNOWN if percent is None else round(min(100.0, max(0.0, percent))) for percent in kept)
    assert history.of("a", "gpu", second) == expected.lstrip(bytes([UNKNOWN]))
