"""Times and what is said of them: percentiles, and loops in which contenders take turns.

Contenders that are compared take turns, in one loop, so that whatever else the machine does hits all of them. No
measurement is thrown away: warm-up rounds are counted apart, before the first measured one.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name")
Contender = Callable[[], float]
"""Does something once and says how many seconds it took."""


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank: the smallest of ``values`` that at least ``percent`` % of them do not exceed.

    Never interpolates, so the figure is one that was measured; with under 100 values, p99 is the largest.
    """
    if not values:
        raise ValueError("there is nothing to take a percentile of")
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile lies above 0 and up to 100, not at {percent}")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations of one thing done many times, in seconds."""

    seconds: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def p50(self) -> float:
        return percentile(self.seconds, 50)

    @property
    def p95(self) -> float:
        return percentile(self.seconds, 95)

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 99)

    @property
    def best(self) -> float:
        return min(self.seconds)


def repeat(rounds: int, contender: Contender, *, warm_up: int = 0) -> Timings:
    """One contender on its own."""
    return alternate(rounds, {"only": contender}, warm_up=warm_up)["only"]


def alternate(rounds: int, contenders: Mapping[Name, Contender], *, warm_up: int = 0) -> dict[Name, Timings]:
    """Each contender once per round, in an order that is drawn anew for each round, and the same in every run.

    In a fixed order, even if each round began with another one, each would always follow the same one: who follows a
    contender that uses the same processes finds warm caches, which was seen to make 20 % of a cell's round trip.
    """
    taken: dict[Name, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    order = random.Random(0)
    for number in range(-warm_up, rounds):
        order.shuffle(names)
        for name in names:
            seconds = contenders[name]()
            if number >= 0:
                taken[name].append(seconds)
    return {name: Timings(tuple(seconds)) for name, seconds in taken.items()}


def timed(action: Callable[[], object]) -> float:
    """How long ``action`` takes, in seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
