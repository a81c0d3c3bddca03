"""DESIGN: money is integers; a cost is exact to the nano-dollar."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.wire import money
from perijove.wire.money import cost_nanodollars, dollars_to_nanodollars, format_dollars, price_from_dollars


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(money).failed == 0


def test_an_hour_of_h100():
    price = price_from_dollars("0.001097")
    assert price == 1097
    assert cost_nanodollars(price, 1, 3_600_000) == 3_949_200_000
    assert format_dollars(3_949_200_000) == "$3.9492"


@given(st.integers(0, 10**6), st.integers(0, 64), st.lists(st.integers(0, 10**9), max_size=8))
def test_the_parts_of_a_lease_cost_what_the_whole_costs(price, count, durations):
    assert sum(cost_nanodollars(price, count, part) for part in durations) == cost_nanodollars(
        price, count, sum(durations)
    )


@given(st.integers(0, 10**15))
def test_amounts_for_people_are_never_off_by_more_than_half_a_digit(nanodollars):
    text = format_dollars(nanodollars)
    if text.startswith("<"):
        assert 0 < nanodollars < 100_000
    else:
        step = 10**7 if nanodollars >= 10**10 else 10**5
        assert abs(dollars_to_nanodollars(text.replace(",", "")) - nanodollars) <= step // 2


@pytest.mark.parametrize("text", ["", "five", "-1", "nan", "inf", "1,5"])
def test_what_is_no_amount_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"write it like 5 or 0\.50"):
        dollars_to_nanodollars(text)


def test_a_negative_duration_never_becomes_a_credit():
    with pytest.raises(ValueError, match="never negative"):
        cost_nanodollars(1, 1, -1)
