"""What a kernel's budget means for its leases: when there is none to have, how long one may run, and when to warn.

The agent enforces a limit, by its own clock, so that it holds when the broker is away (docs/billing.md). Here it is
only worked out: what is left of the budget, divided by what a millisecond costs.
"""

from __future__ import annotations

from ...wire.errors import BudgetExhausted
from ...wire.money import format_dollars
from .account import WARN_AT_PERCENT
from .clock import BootMs
from .records import Kernel

CODE = BudgetExhausted.code
LEAST_LEASE_MS = 1_000  # a lease that could pay for less is not opened
HOW_TO_RAISE = "`%gpu budget AMOUNT` raises it, `%gpu budget none` removes it"


def spent_at(kernel: Kernel, now: BootMs) -> int:
    """By all leases of this kernel; the open one as people are shown it."""
    return kernel.account.spent + (kernel.lease.cost_at(now) if kernel.lease is not None else 0)


def spent_simulated_at(kernel: Kernel, now: BootMs) -> int:
    lease = kernel.lease
    running = lease.cost_at(now) if lease is not None and lease.record.simulated else 0
    return kernel.account.spent_simulated + running


def limit_ms(kernel: Kernel) -> int | None:
    """How long the kernel's open lease may run altogether; None: no limit."""
    return None if kernel.lease is None else kernel.account.limit_ms(kernel.lease.record.nanodollars_per_ms)


def refusal(kernel: Kernel, now: BootMs, nanodollars_per_ms: int = 0, gpus: str = "") -> str:
    """Why there is no lease to have at this price, for people; empty when there is one.

    Without a price: whether there could be one at all.
    """
    account = kernel.account
    if account.budget is None or account.left is None:
        return ""
    budget = f"this kernel's budget of {format_dollars(account.budget)}"
    if account.left <= 0:
        return f"{budget} is used up ({_spent(kernel, now)}); {HOW_TO_RAISE}"
    second = nanodollars_per_ms * LEAST_LEASE_MS
    if account.left < second:
        left = f"the {format_dollars(account.left)} left of {budget} ({_spent(kernel, now)})"
        return f"{left} does not pay for one second of {gpus} at {format_dollars(second)}; {HOW_TO_RAISE}"
    return ""


def _spent(kernel: Kernel, now: BootMs) -> str:
    spent, simulated = spent_at(kernel, now), spent_simulated_at(kernel, now)
    text = f"{format_dollars(spent)} spent"
    if simulated:
        text += ", simulated" if simulated == spent else f", {format_dollars(simulated)} of it simulated"
    if held := sum(kernel.account.held_back.values()):
        text += f"; {format_dollars(held)} held back for what an agent that is out of contact may still report"
    return text


def warning(kernel: Kernel, now: BootMs) -> str:
    """One plain sentence from 80 % on, always the same one, so that it is told once."""
    account, spent = kernel.account, spent_at(kernel, now)
    if account.budget is None or account.warns_at is None or spent < account.warns_at:
        return ""
    simulated = " (simulated)" if spent_simulated_at(kernel, now) else ""
    budget = f"{format_dollars(account.budget)}{simulated}"
    return (
        f"Over {WARN_AT_PERCENT} % of this kernel's budget of {budget} is spent; when all of it is, "
        f"the running cell is stopped and the GPU goes back. {HOW_TO_RAISE}."
    )


def warns_at(kernel: Kernel, now: BootMs) -> BootMs | None:
    """When the warning is due if the lease just runs on."""
    lease, threshold = kernel.lease, kernel.account.warns_at
    if lease is None or threshold is None or not lease.meter.running or lease.record.nanodollars_per_ms == 0:
        return None
    missing = threshold - spent_at(kernel, now)
    if missing <= 0:
        return None
    return BootMs(max(now, lease.meter.shown_at) - (-missing // lease.record.nanodollars_per_ms))
