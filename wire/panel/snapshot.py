"""What is known of a kernel at one moment, as the panel shows it: plain JSON, with everything in it true *as of* then.

What time changes by itself (the bill, the countdown) the panel's own script goes on counting, at the rates given here,
for as long as it hears from the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..commands.budget import spent_now
from ..models import KernelView
from ..money import cost_nanodollars, format_dollars
from ..states import BudgetScope, KernelState, SetBy
from ..usage import GpuUsage, HostSample, UsageAt

_SECOND_MS = 1000
_RUNS = (KernelState.STARTING, KernelState.ATTACHED)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to show. ``view_age_s``: how long ago the broker said it."""

    name: str
    view: KernelView | None
    view_age_s: float
    sample: UsageAt | None  # the newest; None: nothing is known of what it does
    host: HostSample | None
    connected: bool
    said: str = ""  # what came of the button that was pressed last


def snapshot(seen: Seen, as_of: str) -> Document:
    """``as_of``: UTC, ISO 8601."""
    document: Document = {"as_of": as_of, "name": seen.name, "connected": seen.connected, "said": seen.said}
    if seen.view is not None:
        document |= _of_view(seen.view, seen.view_age_s)
    document["sample"] = None if seen.sample is None else _of_sample(seen.sample)
    document["host"] = None if seen.host is None else _of_host(seen.host)
    return document


def _of_view(view: KernelView, age_s: float) -> Document:
    gpus = view.gpus
    return {
        "state": view.state.value,
        "busy": view.busy,
        "asked": view.gpu_spec,
        "model": gpus.model if gpus is not None else None,
        "count": gpus.count if gpus is not None else 0,
        "agent": gpus.agent_name if gpus is not None else "",
        "simulated": gpus is not None and gpus.simulated,
        "queue_reason": view.queue_reason,
        "notice": view.notice,
        "draining": view.draining,
        "keeps_state": view.keeps_state,
        "idle_timeout_s": view.idle_timeout_s,
        "keep_extra_s": view.keep_extra_s,
        "release_in_s": None if view.release_in_s is None else max(0.0, view.release_in_s - age_s),
        "money": _money(view, age_s),
        "budgets": _budgets(view, age_s),
        "budget_warning": view.budget_warning,
    }


def _money(view: KernelView, age_s: float) -> Document:
    """Nano-dollars. ``per_s``: what each further second costs; ``saved``: by releasing, until the broker spoke."""
    lease = view.lease
    per_s = cost_nanodollars(lease.price_microdollars_per_second, lease.count, _SECOND_MS) if lease is not None else 0
    return {
        "spent": spent_now(view, age_s),
        "simulated": view.spent_simulated_nanodollars > 0 or bool(view.gpus and view.gpus.simulated),
        "mixed": 0 < view.spent_simulated_nanodollars < view.spent_nanodollars,
        "per_s": per_s if view.state in _RUNS else 0,
        "starting_ms": lease.starting_ms if lease is not None else 0,
        "busy_ms": lease.busy_ms if lease is not None else 0,
        "idle_ms": lease.idle_ms if lease is not None else 0,
        "saved": view.saved_nanodollars,
    }


def spent_text(view: KernelView, age_s: float) -> str:
    """What the kernel has cost so far, for people; simulated money says so."""
    marked = " simulated" if view.spent_simulated_nanodollars or (view.gpus and view.gpus.simulated) else ""
    return format_dollars(spent_now(view, age_s)) + marked


def _budgets(view: KernelView, age_s: float) -> list[Document]:
    """``runs``: whether each further second counts against it. A user's budgets count simulated money apart."""
    since = spent_now(view, age_s) - view.spent_nanodollars
    now_simulated = view.gpus is not None and view.gpus.simulated
    documents = []
    for budget in view.budgets:
        runs = budget.scope is BudgetScope.KERNEL or budget.simulated is now_simulated
        documents.append(
            {
                "scope": budget.scope.value,
                "limit": budget.limit_nanodollars,
                "spent": budget.spent_nanodollars + (since if runs else 0),
                "simulated": budget.simulated,
                "runs": runs,
                "set_by": budget.by if budget.set_by is SetBy.ADMIN else "",
            }
        )
    return documents


def _of_sample(sample: UsageAt) -> Document:
    return {
        "at": sample.at,
        "processes": sample.processes,
        "cpu": round(sample.cpu_percent, 1),
        "memory": sample.memory_bytes,
        "gpus": [_of_gpu(gpu) for gpu in sample.gpus],
    }


def _of_gpu(gpu: GpuUsage) -> Document:
    return {
        "uuid": gpu.uuid,
        "simulated": gpu.simulated,
        "problem": gpu.problem,
        "utilization": gpu.utilization_percent,
        "memory": gpu.memory_used_bytes,
        "own_memory": gpu.own_memory_bytes,
        "memory_total": gpu.memory_total_bytes,
        "power": gpu.power_milliwatts,
        "power_limit": gpu.power_limit_milliwatts,
        "temperature": gpu.temperature_celsius,
        "throttled_by": list(gpu.throttled_by),
    }


def _of_host(host: HostSample) -> Document:
    return {
        "cpu": round(host.cpu_percent, 1),
        "cores": host.cores,
        "memory": host.memory_used_bytes,
        "memory_total": host.memory_total_bytes,
    }
