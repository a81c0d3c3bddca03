"""What the budgets that apply to a kernel mean for its leases: when there is none to have, and when to warn.

The agent enforces a limit, by its own clock, so that it holds when the broker is away (docs/billing.md). Here is only
worked out how each budget stands: this kernel's own, its user's, and the month's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...wire.errors import BudgetExhausted
from ...wire.models import BudgetScope, BudgetView, SetBy
from ...wire.money import format_dollars
from .account import WARN_AT_PERCENT
from .clock import BootMs, earliest
from .purse import LimitRecord
from .records import Kernel

CODE = BudgetExhausted.code
LEAST_LEASE_MS = 1_000  # a lease that could pay for less is not opened
HOW_TO_RAISE = "`%gpu budget AMOUNT` raises it, `%gpu budget none` removes it"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one budget stands for one kernel; nano-dollars."""

    scope: BudgetScope
    most: int
    set_by: SetBy
    by: str
    user: str
    month: str
    capped: bool  # a kernel's budget that is the cap for all of the user's
    spent: int  # as people are shown it
    simulated: int  # the part of that which is simulated
    left: int  # by proof, for the open lease and others; negative when more was spent
    held_back: int
    promised: int  # of what is left, to other leases
    is_simulated: bool  # what it counts here is simulated money, or there is some in it

    @property
    def warns_from(self) -> int:
        """From what has been spent its user is warned."""
        return -(-self.most * WARN_AT_PERCENT // 100)

    @property
    def name(self) -> str:
        """``your budget of $50.00 for 2026-11 UTC (set by root, an admin)``."""
        return self._named("")

    def _named(self, mark: str) -> str:
        amount = format_dollars(self.most) + mark
        if self.scope is BudgetScope.KERNEL:
            return f"this kernel's budget of {amount}{self._author}"
        lasting = f" for {self.month} UTC" if self.scope is BudgetScope.MONTH else " for all that you use"
        return f"your budget of {amount}{lasting}{self._author}"

    @property
    def _author(self) -> str:
        if self.set_by is SetBy.ADMIN:
            return f" (set by {self.by}, an admin)"
        return " (set by you)" if self.capped or self.scope is not BudgetScope.KERNEL else ""

    @property
    def how_to_raise(self) -> str:
        if self.set_by is SetBy.ADMIN:
            return f"an admin can raise it: `perijove budget --for {self.user} {_OPTIONS[self.scope]} AMOUNT`"
        if self.scope is not BudgetScope.KERNEL:
            word = self.scope.value
            return f"`%gpu budget {word} AMOUNT` raises it, `%gpu budget {word} none` removes it"
        return "`perijove budget --kernel AMOUNT` raises it for all your kernels" if self.capped else HOW_TO_RAISE

    @property
    def spent_text(self) -> str:
        text = f"{format_dollars(self.spent)} spent"
        if self.simulated:
            whole = self.simulated == self.spent
            text += ", simulated" if whole else f", {format_dollars(self.simulated)} of it simulated"
        if self.held_back:
            held = format_dollars(self.held_back)
            text += f"; {held} held back for what an agent that is out of contact may still report"
        return text

    @property
    def warning(self) -> str:
        """One plain sentence from 80 % on, always the same one, so that it is told once."""
        if self.spent < self.warns_from:
            return ""
        name = self._named(" (simulated)" if self.simulated else "")
        return (
            f"Over {WARN_AT_PERCENT} % of {name} is spent; when all of it is, "
            f"the running cell is stopped and the GPU goes back. {_as_sentence(self.how_to_raise)}."
        )


_OPTIONS = {BudgetScope.KERNEL: "--kernel", BudgetScope.USER: "--user-total", BudgetScope.MONTH: "--month"}


def _as_sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def spent_at(kernel: Kernel, now: BootMs) -> int:
    """By all leases of this kernel; the open one as people are shown it."""
    return kernel.account.spent + (kernel.lease.cost_at(now) if kernel.lease is not None else 0)


def spent_simulated_at(kernel: Kernel, now: BootMs) -> int:
    lease = kernel.lease
    running = lease.cost_at(now) if lease is not None and lease.record.simulated else 0
    return kernel.account.spent_simulated + running


def kernel_limit_ms(kernel: Kernel) -> int | None:
    """How long the kernel's open lease may run altogether on the kernel's own budget; None: no limit."""
    return None if kernel.lease is None else kernel.account.limit_ms(kernel.lease.record.nanodollars_per_ms)


def standings(kernel: Kernel, now: BootMs, money: Collection[bool] | None = None) -> list[Standing]:
    """All budgets that apply to a kernel, the tightest first. ``money``: real or simulated or both; None: as it has."""
    found = [_own(kernel, now)] if kernel.account.most is not None else []
    for limit in kernel.purse.shared_limits:
        kinds = _money_of(kernel) if money is None else money
        found += [_shared(kernel, limit, now, simulated=simulated) for simulated in sorted(kinds)]
    return sorted(found, key=lambda standing: standing.most - standing.spent)


def _own(kernel: Kernel, now: BootMs) -> Standing:
    account = kernel.account
    assert account.most is not None
    assert account.left is not None
    cap = account.cap if account.is_capped else None
    simulated = spent_simulated_at(kernel, now)
    return Standing(
        scope=BudgetScope.KERNEL,
        most=account.most,
        set_by=SetBy.USER if cap is None else cap.set_by,
        by=kernel.user if cap is None else cap.by,
        user=kernel.user,
        month="",
        capped=cap is not None,
        spent=spent_at(kernel, now),
        simulated=simulated,
        left=account.left,
        held_back=sum(account.held_back.values()),
        promised=0,
        is_simulated=bool(simulated) or (kernel.lease is not None and kernel.lease.record.simulated),
    )


def _shared(kernel: Kernel, limit: LimitRecord, now: BootMs, *, simulated: bool) -> Standing:
    purse = kernel.purse
    spent = purse.spent_at(limit.scope, now, simulated=simulated)
    return Standing(
        scope=limit.scope,
        most=limit.nanodollars,
        set_by=limit.set_by,
        by=limit.by,
        user=kernel.user,
        month=purse.month_name,
        capped=False,
        spent=spent,
        simulated=spent if simulated else 0,
        left=purse.left(limit, simulated=simulated),
        held_back=purse.held(simulated=simulated),
        promised=purse.granted(simulated=simulated, beside=kernel.lease),
        is_simulated=simulated,
    )


def _money_of(kernel: Kernel) -> set[bool]:
    """What the kernel's lease costs; without one, what its next may."""
    if kernel.lease is not None:
        return {kernel.lease.record.simulated}
    purse = kernel.purse
    return {False, True} if purse.simulated.ever or purse.open_leases(simulated=True) else {False}


def views(kernel: Kernel, now: BootMs) -> list[BudgetView]:
    """For the kernel's user, the tightest first."""
    return [
        BudgetView(
            scope=standing.scope,
            limit_nanodollars=standing.most,
            spent_nanodollars=standing.spent,
            simulated=standing.is_simulated,
            set_by=standing.set_by,
            by=standing.by,
            warning=standing.warning,
        )
        for standing in standings(kernel, now)
    ]


def refusal(
    kernel: Kernel,
    now: BootMs,
    money: Collection[bool],
    nanodollars_per_ms: int = 0,
    gpus: str = "",
) -> str:
    """Why there is no lease to have at this price, for people; empty when there is one.

    Without a price: whether there could be one at all, in one of these kinds of money.
    """
    reasons = []
    for simulated in sorted(money):
        found = (_refusal(standing, nanodollars_per_ms, gpus) for standing in standings(kernel, now, (simulated,)))
        reasons.append(next((reason for reason in found if reason), ""))
    return reasons[0] if all(reasons) else ""


def _refusal(standing: Standing, nanodollars_per_ms: int, gpus: str) -> str:
    if standing.left <= 0:
        return f"{standing.name} is used up ({standing.spent_text}); {standing.how_to_raise}"
    second = nanodollars_per_ms * LEAST_LEASE_MS
    left = f"the {format_dollars(standing.left)} left of {standing.name} ({standing.spent_text})"
    if standing.left < second:
        return f"{left} does not pay for one second of {gpus} at {format_dollars(second)}; {standing.how_to_raise}"
    if standing.left < standing.promised + max(second, 1):
        return (
            f"{left} is set aside for your kernels that run; "
            f"release one of them, or raise the budget: {standing.how_to_raise}"
        )
    return ""


def warns_at(kernel: Kernel, now: BootMs) -> BootMs | None:
    """When the next warning is due if all leases just run on."""
    lease = kernel.lease
    if lease is None or not lease.meter.running or lease.record.nanodollars_per_ms == 0:
        return None
    due: list[BootMs | None] = []
    for standing in standings(kernel, now):
        missing = standing.warns_from - standing.spent
        if missing <= 0:
            continue
        if standing.scope is BudgetScope.KERNEL:
            due.append(BootMs(max(now, lease.meter.shown_at) - (-missing // lease.record.nanodollars_per_ms)))
        else:
            due.append(kernel.purse.runs_up_by(missing, now, simulated=lease.record.simulated))
    return earliest(*due)
