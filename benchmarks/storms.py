"""Message storms through a whole kernel: flushed prints and displays, by every way, every one of them counted.

jupyter_server drops output beyond its limits, and a plain ipykernel what its publisher has no room for; what they lose
is told beside their rates, which are those of what was *printed*, and better for it. Ours must lose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from .cells import Execution, RunsCells
from .effort import Effort
from .figures import Figure, Mark
from .home import Home
from .measure import alternate
from .ways import OURS, PLAIN, all_ways

SUBJECT = "storms"
MARK = Mark(0.9, at_least=True, meaning="plain ipykernel's rate")
WITHIN_S = 300.0
WARM_UP_PART = 25  # of so many


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    with all_ways(here) as ways:
        for what, code, count in (
            ("flushed prints", "print(i, flush=True)", effort.prints),
            ("displays", "display(i)", effort.displays),
        ):
            for front_end in ways.values():
                _storm(front_end, code, count // WARM_UP_PART, [])
            storms: dict[str, list[Execution]] = {way: [] for way in ways}
            contenders = {way: partial(_storm, ways[way], code, count, storms[way], ways.values()) for way in ways}
            taken = alternate(effort.storms, contenders)
            rates = {way: count * len(timings) / sum(timings.seconds) for way, timings in taken.items()}
            for way, seen in storms.items():
                yield Figure(
                    SUBJECT,
                    f"{way}: {count:,} {what}",
                    rates[way],
                    "per s",
                    _detail(seen),
                    None if way == PLAIN else rates[way] / rates[PLAIN],
                    MARK if way in OURS else None,
                    sum(lost(each, count) for each in seen),
                )


def _storm(
    front_end: RunsCells, code: str, count: int, seen: list[Execution], others: Iterable[RunsCells] = ()
) -> float:
    for other in others:
        other.stay_connected()  # a storm takes half a minute
    storm = front_end.execute(f"for i in range({count}):\n    {code}", within_s=WITHIN_S, may_lose=True)
    seen.append(storm)
    return storm.done_s


def lost(seen: Execution, count: int) -> int:
    """What did not arrive of a storm: lines that are missing or out of place, or displays; and the idle."""
    without_idle = 0 if seen.idle_s else 1
    if seen.displays:
        return count - seen.displays + without_idle
    expected = {str(number) for number in range(count)}
    lines = seen.text.splitlines()
    if lines == [str(number) for number in range(count)]:
        return without_idle
    missing = len(expected.difference(lines))
    return max(missing, 1) + without_idle


def _detail(seen: list[Execution]) -> str:
    messages = sum(each.streams + each.displays for each in seen)
    seconds = ", ".join(f"{each.done_s:.1f}" for each in seen)
    return f"{seconds} s, in {messages:,} messages"
