"""The panel where no widget can run (nbconvert, a terminal, a tab that was reloaded without its kernel): one line of
what was known when it was written, which says when that was."""

from __future__ import annotations

from typing import Any

from ..commands.budget import left_text
from ..commands.describing import describe_gpus
from ..commands.status import told_of
from ..gpu_spec import GIB
from ..html_text import html_text
from ..money import cost_nanodollars, format_dollars
from ..states import KernelState
from ..usage import UsageAt
from .snapshot import Seen, spent_text

_HOUR_MS = 3_600_000
_STYLE = "opacity: 0.8; font-size: 90%; font-variant-numeric: tabular-nums"


def fallback(seen: Seen, as_of: str) -> dict[str, Any]:
    """The text and HTML of a MIME bundle. ``as_of``: UTC, ISO 8601."""
    text = fallback_text(seen, as_of)
    return {"text/plain": text, "text/html": f'<div style="{_STYLE}">{html_text(text)}</div>'}


def fallback_text(seen: Seen, as_of: str) -> str:
    view = seen.view
    if view is None:
        return f"{seen.name}: nothing has run yet, nothing is billed (as of {_moment(as_of)})"
    where = f" on {view.gpus.agent_name}" if view.gpus is not None else ""
    parts = [f"{describe_gpus(view)}{where}", _state(seen)]
    if view.state is KernelState.ATTACHED and seen.sample is not None:
        parts.extend(_gpus(seen.sample))
    parts.append(f"{spent_text(view, seen.view_age_s)} so far")
    if view.lease is not None:
        hourly = cost_nanodollars(view.lease.price_microdollars_per_second, view.lease.count, _HOUR_MS)
        parts.append(f"{format_dollars(hourly)} per hour")
    if left := left_text(view, seen.view_age_s):
        parts.append(left)
    if not seen.connected:
        parts.append("the broker is out of reach")
    parts.append(f"as of {_moment(as_of)}")
    return " · ".join(parts)


def _state(seen: Seen) -> str:
    assert seen.view is not None
    told = told_of(seen.view, seen.view_age_s)
    return told if told else seen.view.state.value


def _gpus(sample: UsageAt) -> list[str]:
    texts = []
    for gpu in sample.gpus:
        if gpu.problem:
            texts.append(gpu.problem)
            continue
        if gpu.utilization_percent is not None:
            texts.append(f"{gpu.utilization_percent:.0f} % used")
        if gpu.memory_used_bytes is not None and gpu.memory_total_bytes:
            texts.append(f"{gpu.memory_used_bytes / GIB:.1f} of {gpu.memory_total_bytes / GIB:.0f} GiB")
    return texts


def _moment(as_of: str) -> str:
    """``2026-11-25 18:04:09 UTC`` of an ISO moment."""
    return f"{as_of[:10]} {as_of[11:19]} UTC"
