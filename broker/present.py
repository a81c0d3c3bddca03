"""What a bill has to know of this moment: open leases, the gaps that kernels are in, and what is left of budgets."""

from __future__ import annotations

from ..wire.models import BudgetLeft
from .core import budget
from .core.clock import Now
from .core.fleet import Fleet
from .core.records import Kernel
from .ledger.bill import LiveLease, Present


def present_of(fleet: Fleet, now: Now) -> Present:
    living = fleet.living_kernels()
    return Present(
        at=now.wall,
        leases=[
            LiveLease(kernel.lease.record, kernel.lease.meter.at(now.boot))
            for kernel in fleet.kernels.values()
            if kernel.lease is not None
        ],
        # Nobody comes back to a kernel that has ended: what follows its last lease is not saved by releasing.
        gaps={gap.lease.id: gap.ms_at(now.boot) for kernel in living if (gap := kernel.savings.gap) is not None},
        budgets=[_budget_left(kernel, now) for kernel in living if kernel.account.budget is not None],
    )


def _budget_left(kernel: Kernel, now: Now) -> BudgetLeft:
    spent, limit = budget.spent_at(kernel, now.boot), kernel.account.budget or 0
    return BudgetLeft(
        kernel=kernel.id,
        user=kernel.user,
        budget_nanodollars=limit,
        spent_nanodollars=spent,
        spent_simulated_nanodollars=budget.spent_simulated_at(kernel, now.boot),
        left_nanodollars=max(0, limit - spent),
    )
