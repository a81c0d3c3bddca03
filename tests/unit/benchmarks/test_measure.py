"""The measuring code of the benchmarks: a wrong percentile would make every figure a lie."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.figures import Figure, Mark, as_table, faster, milliseconds
from benchmarks.measure import Timings, alternate, percentile, repeat

SECONDS = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=300)


def test_percentiles_by_nearest_rank():
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    assert [percentile(values, percent) for percent in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]


def test_p99_of_few_values_is_the_worst_one():
    assert Timings((0.1, 5.0, 0.2)).p99 == 5.0
    assert Timings(tuple(float(i) for i in range(1, 101))).p99 == 99.0


@given(SECONDS, st.integers(1, 100))
def test_a_percentile_was_measured_and_covers_its_share(seconds: list[float], percent: int):
    value = percentile(seconds, percent)
    assert value in seconds
    assert sum(each <= value for each in seconds) >= len(seconds) * percent / 100


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_percentiles_that_do_not_exist(percent: int):
    with pytest.raises(ValueError, match="percentile"):
        percentile([1.0], percent)
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_contenders_take_turns_and_none_always_follows_the_same():
    order: list[str] = []

    def contender(name: str, seconds: float):
        def run() -> float:
            order.append(name)
            return seconds

        return run

    timings = alternate(50, {name: contender(name, index) for index, name in enumerate("abc")})
    rounds = [order[start : start + 3] for start in range(0, len(order), 3)]
    assert [sorted(each) for each in rounds] == [["a", "b", "c"]] * 50
    assert {each[0] for each in rounds} == {"a", "b", "c"}
    assert {before for before, after in pairwise(order) if after == "c"} >= {"a", "b"}
    assert timings == {"a": Timings((0,) * 50), "b": Timings((1,) * 50), "c": Timings((2,) * 50)}


def test_warm_up_is_done_and_not_counted():
    durations = iter([9.0, 9.0, 1.0, 2.0, 3.0])
    assert repeat(3, lambda: next(durations), warm_up=2) == Timings((1.0, 2.0, 3.0))


def test_marks_know_their_side():
    assert Mark(20, at_least=True, meaning="faster").reached_by(20.0)
    assert not Mark(20, at_least=True, meaning="faster").reached_by(19.9)
    assert Mark(2.5, at_least=False, meaning="slower").reached_by(2.5)
    assert not Mark(2.5, at_least=False, meaning="slower").reached_by(2.6)


def test_lost_messages_fail_a_mark_whatever_the_rate():
    mark = Mark(0.9, at_least=True, meaning="the rate")
    assert Figure("output", "prints", 1.0, "per s", ratio=1.2, mark=mark, lost=0).reached is True
    assert Figure("output", "prints", 1.0, "per s", ratio=1.2, mark=mark, lost=1).reached is False
    assert Figure("output", "prints", 1.0, "per s").reached is None


def test_the_table_and_the_document_say_the_same():
    mark = Mark(20, at_least=True, meaning="faster than a cold start")
    figure = milliseconds("attach", "warm", 0.01, ratio=faster(0.35, 0.01), mark=mark)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(as_table([figure], "a title"))
    shown = console.export_text()
    assert "10.0 ms" in shown
    assert "35.0 ×" in shown
    assert "≥ 20 faster than a cold start" in shown
    assert "yes" in shown
    document = json.loads(json.dumps(figure.document()))
    assert (document["value"], document["reached"], document["mark"]) == (10.0, True, str(mark))
