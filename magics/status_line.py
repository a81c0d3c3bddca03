"""The quiet line under a ``%%gpu`` cell: where it ran, how long, what it cost, and when the GPU goes back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..wire.commands.describing import release_text
from ..wire.html_text import html_text
from ..wire.models import KernelView
from ..wire.money import amount_text, cost_nanodollars

if TYPE_CHECKING:
    from .outputs import Outputs


@dataclass(frozen=True, slots=True)
class StatusLine:
    """``text`` for people; ``facts`` for programs, in the output's metadata."""

    text: str
    facts: dict[str, Any]


def cell_status(view: KernelView, gpus: str, attach_s: float | None, ran_ms: int, notices: Sequence[str]) -> StatusLine:
    """The status line of a cell that has run.

    Args:
        attach_s: how long the user waited for the GPU, seconds; None when the kernel held it already.
        ran_ms: how long the cell ran over there, milliseconds.
    """
    parts = [gpus]
    if attach_s is not None:
        parts.append(f"attached {_seconds(attach_s)}")
    parts.append(f"ran {_seconds(ran_ms / 1000)}")
    simulated = bool(view.gpus and view.gpus.simulated)
    cost = None
    if view.lease is not None:
        # Waiting costs nothing; holding the GPU does, from before the process is on it.
        billed_ms = ran_ms + (view.lease.starting_ms if attach_s is not None else 0)
        cost = cost_nanodollars(view.lease.price_microdollars_per_second, view.lease.count, billed_ms)
        parts.append(amount_text(cost, simulated=simulated))
    parts.append(release_text(view))
    parts.extend(notices)
    facts = {"gpu": gpus, "ran_ms": ran_ms, "simulated": simulated, "cost_nanodollars": cost}
    return StatusLine(" · ".join(parts), facts)


def show_status_line(outputs: Outputs, line: StatusLine) -> None:
    """Show a status line; ``PERIJOVE_STATUS=0`` leaves it out."""
    if os.environ.get("PERIJOVE_STATUS", "1") == "0":
        return
    style = "opacity: 0.65; font-size: 85%; font-variant-numeric: tabular-nums; margin-top: 0.3em"
    outputs.show_at_end(
        {"text/plain": line.text, "text/html": f'<div style="{style}">{html_text(line.text)}</div>'},
        {"perijove": {"role": "status", **line.facts}},
    )


def _seconds(duration_s: float) -> str:
    """Two significant digits below ten seconds: ``0.02 s``, ``3.4 s``, ``12 s``, ``2 min 5 s``."""
    if duration_s >= 60:
        minutes, rest = divmod(round(duration_s), 60)
        return f"{minutes} min {rest} s"
    if duration_s >= 10:
        return f"{duration_s:.0f} s"
    if duration_s >= 1:
        return f"{duration_s:.1f} s"
    return f"{duration_s:.2f} s" if duration_s >= 0.01 else f"{duration_s:.3f} s"
