"""A bill as stacked bars: starting, busy and idle money of each day, or of each other group. Pure; text for terminals.

The three parts differ in shape, so that no colour is needed to tell them apart. Simulated dollars have bars of their
own and never share one with real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Literal

from ..models import Bill, BillGroup, By, PhaseCosts
from ..money import amount_text, format_dollars
from .tables import NOT_KNOWN

Phase = Literal["starting", "busy", "idle"]
PHASES: tuple[Phase, ...] = ("starting", "busy", "idle")
SHAPES: dict[Phase, str] = {"starting": "▚", "busy": "█", "idle": "░"}
MOST_BARS = 31
LONGEST_LABEL = 28


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    parts: tuple[int, int, int]  # nano-dollars, as PHASES
    simulated: bool

    @property
    def total(self) -> int:
        return sum(self.parts)

    @property
    def amount(self) -> str:
        return amount_text(self.total, simulated=self.simulated) if self.total else "–"


@dataclass(frozen=True, slots=True)
class Bars:
    """``left_out``: how many groups there are beside those that are shown."""

    by: By
    bars: tuple[Bar, ...]
    left_out: int = 0

    @property
    def longest(self) -> int:
        return max((bar.total for bar in self.bars), default=0)

    @property
    def title(self) -> str:
        return f"cost by {'GPU type' if self.by == 'gpu' else self.by}" + (" (UTC)" if self.by == "day" else "")

    @property
    def note(self) -> str:
        """What is not to be seen."""
        if not self.left_out:
            return ""
        return f"{self.left_out} earlier days are not shown" if self.by == "day" else f"{self.left_out} more, less dear"


def bars_of(bill: Bill) -> Bars | None:
    """None where there is nothing to draw."""
    if bill.by is None or not any(group.cost_nanodollars or group.simulated_nanodollars for group in bill.groups):
        return None
    if bill.by == "day":
        groups = _every_day(bill.groups)
        shown = groups[-MOST_BARS:]
    else:
        groups = [group for group in bill.groups if group.cost_nanodollars or group.simulated_nanodollars]
        shown = groups[:MOST_BARS]
    several = bill.by != "user" and len({group.user for group in shown}) > 1
    bars = [bar for group in shown for bar in _bars(group, f"{group.user}: " if several else "")]
    return Bars(bill.by, tuple(bars), len(groups) - len(shown))


def _every_day(groups: Sequence[BillGroup]) -> list[BillGroup]:
    """From the first day that cost something to the last, those between them too, as far back as bars are shown."""
    by_day = {group.key: group for group in groups}
    costly = [group.key for group in groups if group.cost_nanodollars or group.simulated_nanodollars]
    day, first = date.fromisoformat(costly[-1]), costly[0]
    days: list[str] = []
    while day.isoformat() >= first and len(days) < MOST_BARS:
        days.append(day.isoformat())
        day -= timedelta(days=1)
    earlier = [key for key in costly if key < days[-1]]
    return [by_day.get(key) or BillGroup(key=key) for key in [*earlier, *reversed(days)]]


def _bars(group: BillGroup, whose: str) -> list[Bar]:
    label = whose + _label(group.key or NOT_KNOWN, LONGEST_LABEL - len(whose))
    bars = []
    if group.simulated_nanodollars == 0 or group.cost_nanodollars:
        bars.append(Bar(label, _parts(group.cost_by_phase), False))
    if group.simulated_nanodollars:
        bars.append(Bar(label, _parts(group.simulated_by_phase), True))
    return bars


def _label(text: str, longest: int) -> str:
    """Of a long path its end, which tells most."""
    return text if len(text) <= longest else "…" + text[-max(8, longest - 1) :]


def _parts(costs: PhaseCosts) -> tuple[int, int, int]:
    return costs.starting_nanodollars, costs.busy_nanodollars, costs.idle_nanodollars


def cells(bar: Bar, longest: int, width: int) -> tuple[int, int, int]:
    """How many of ``width`` characters each part takes. Together they are as long as the whole; none that cost
    something is without any, as long as there is room."""
    if bar.total == 0 or longest == 0:
        return 0, 0, 0
    length = max(1, round(bar.total * width / longest))
    ends, so_far = [0], 0
    for part in bar.parts:
        so_far += part
        ends.append(round(so_far * length / bar.total))
    counts = [end - start for start, end in pairwise(ends)]
    for place, part in enumerate(bar.parts):
        if part and not counts[place] and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
            counts[place] = 1
    return counts[0], counts[1], counts[2]


def legend() -> str:
    return "  ".join(f"{SHAPES[phase]} {phase}" for phase in PHASES)


def text_lines(bars: Bars, width: int) -> list[tuple[str, tuple[str, str, str]]]:
    """For each bar its label and amount, and its parts as characters; all within ``width`` columns."""
    labels = max(len(bar.label) for bar in bars.bars)
    amounts = max(len(bar.amount) for bar in bars.bars)
    room = max(8, width - labels - amounts - 4)
    lines = []
    for bar in bars.bars:
        counts = cells(bar, bars.longest, room)
        drawn = [SHAPES[phase] * count for phase, count in zip(PHASES, counts, strict=True)]
        lines.append((f"{bar.label:<{labels}}  {bar.amount:>{amounts}}", (drawn[0], drawn[1], drawn[2])))
    return lines


def as_text(bars: Bars, width: int = 72) -> str:
    lines = [f"{bars.title}  {legend()}"]
    lines += [f"{beside}  {''.join(parts)}".rstrip() for beside, parts in text_lines(bars, width)]
    if bars.note:
        lines.append(bars.note)
    return "\n".join(lines)


def in_words(bar: Bar) -> str:
    """For whoever cannot see it, and under the mouse."""
    parts = ", ".join(f"{phase} {format_dollars(part)}" for phase, part in zip(PHASES, bar.parts, strict=True))
    return f"{bar.label}: {bar.amount} ({parts})"
