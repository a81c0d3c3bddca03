"""``%gpu``: what a kernel does, as of now; the broker speaks of it only when something changes."""

from __future__ import annotations

from ..models import KernelState, KernelView
from ..money import cost_nanodollars, format_dollars
from .describing import describe_gpus

HEADINGS = ["kernel", "state", "GPU", "agent", "cost so far", ""]


def status_row(view: KernelView | None, age_s: float, budget_left: str) -> list[str]:
    """What is said of a kernel whose view came ``age_s`` ago, behind its name."""
    if view is None:
        return ["detached", "", "", "", "nothing has run yet"]
    cost, lease = "", view.lease
    if lease is not None:
        since = cost_nanodollars(lease.price_microdollars_per_second, lease.count, int(age_s * 1000))
        cost = format_dollars(lease.cost_nanodollars + since)
    if cost and view.gpus is not None and view.gpus.simulated:
        cost += " simulated"
    told = "; ".join(part for part in (told_of(view, age_s), view.draining, budget_left) if part)
    agent = view.gpus.agent_name if view.gpus is not None else ""
    return [view.state.value, describe_gpus(view), agent, cost, told]


def told_of(view: KernelView, age_s: float) -> str:
    """A kernel's state in a few words; empty where its name says it all."""
    return {
        KernelState.QUEUED: view.queue_reason,
        KernelState.ATTACHED: "busy" if view.busy else _countdown(view, age_s),
        KernelState.SUSPENDED: "GPU released, variables kept; not billed",
        KernelState.DETACHED: view.notice or "not billed",
    }.get(view.state, "")


def _countdown(view: KernelView, age_s: float) -> str:
    if view.release_in_s is None:
        return "idle"
    kept = "variables kept" if view.keeps_state else "variables will be lost"
    return f"idle, released in {max(0.0, view.release_in_s - age_s):.0f} s, {kept}"
