"""What a benchmark found, and the table of it: the value, its ratio to what it is compared with, the mark to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


class NotHere(Exception):
    """A subject needs something that this machine does not have; the others go on."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A ratio to reach. ``at_least`` says on which side of it the goal lies."""

    ratio: float
    at_least: bool
    meaning: str  # "× faster than a cold start"

    def reached_by(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.at_least else ratio <= self.ratio

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.ratio:g} {self.meaning}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``ratio`` and ``mark`` are None for what is only there to compare with."""

    subject: str
    what: str
    value: float
    unit: str
    detail: str = ""
    ratio: float | None = None
    mark: Mark | None = None
    lost: int | None = None  # messages that did not arrive, where that was counted

    @property
    def reached(self) -> bool | None:
        if self.mark is None or self.ratio is None:
            return None
        return self.mark.reached_by(self.ratio) and not self.lost

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "reached": self.reached, "mark": None if self.mark is None else str(self.mark)}


def milliseconds(subject: str, what: str, seconds: float, **more: Any) -> Figure:
    return Figure(subject, what, seconds * 1000, "ms", **more)


def faster(slow_s: float, quick_s: float) -> float:
    """How many times faster ``quick_s`` is."""
    return slow_s / quick_s


def as_table(figures: Sequence[Figure], title: str) -> Table:
    table = Table(title=title, title_justify="left", show_lines=False)
    table.add_column("what", ratio=3)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("", ratio=2)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("mark", ratio=2)
    table.add_column("reached", justify="center", no_wrap=True)
    subject = ""
    for figure in figures:
        if figure.subject != subject:
            subject = figure.subject
            table.add_section()
            table.add_row(f"[bold]{subject}[/bold]")
        detail = figure.detail if not figure.lost else f"{figure.detail}, {figure.lost} LOST".lstrip(", ")
        table.add_row(
            figure.what,
            f"{_number(figure.value)} {figure.unit}",
            detail,
            "" if figure.ratio is None else f"{_number(figure.ratio)} ×",
            "" if figure.mark is None else str(figure.mark),
            {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[figure.reached],
        )
    return table


def _number(value: float) -> str:
    """Three significant digits, whole thousands with a comma."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
