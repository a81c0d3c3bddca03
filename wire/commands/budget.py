"""Budgets as the notebook reads and shows them. Every amount that has simulated money in it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from ..money import MOST_BUDGET_NANODOLLARS, dollars_to_nanodollars, format_dollars
from ..states import BudgetScope, KernelState, SetBy

if TYPE_CHECKING:
    from ..models import BudgetView, KernelView, ScopeLimit, UserLimits


def read_amount(text: str, where: str, *, zero_too: bool = False) -> int:
    """Dollars as a person writes them, in nano-dollars. ``zero_too``: nothing at all is an amount, too.

    Raises:
        UsageError: when that is no positive amount.
    """
    try:
        nanodollars = dollars_to_nanodollars(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if not (0 < nanodollars <= MOST_BUDGET_NANODOLLARS or (zero_too and nanodollars == 0)):
        raise UsageError(f"{where} takes an amount of dollars above zero, like 0.50, and not {text!r}")
    return nanodollars


def spent_now(view: KernelView, age_s: float) -> int:
    """What the kernel has cost by now, when its view came ``age_s`` ago."""
    lease = view.lease
    since = 0 if lease is None else int(age_s * 1000) * lease.price_microdollars_per_second * lease.count
    return view.spent_nanodollars + since


def left_text(view: KernelView, age_s: float) -> str:
    """``$0.4961 of $0.5000 left``: of the tightest budget that applies; empty where there is none."""
    if view.budgets and view.budgets[0].scope is not BudgetScope.KERNEL:
        return _shared_left_text(view.budgets[0], view, age_s)
    most = view.budgets[0].limit_nanodollars if view.budgets else view.budget_nanodollars
    if most is None:
        return ""
    left = max(0, most - spent_now(view, age_s))
    return f"{format_dollars(left)} of {format_dollars(most)} left{_simulated(view)}"


def _shared_left_text(budget: BudgetView, view: KernelView, age_s: float) -> str:
    spent = budget.spent_nanodollars + spent_now(view, age_s) - view.spent_nanodollars
    left = format_dollars(max(0, budget.limit_nanodollars - spent))
    what = " this month" if budget.scope is BudgetScope.MONTH else " for all that you use"
    return f"{left} of {format_dollars(budget.limit_nanodollars)} left{what}{_mark(budget.simulated)}"


def budget_text(name: str, view: KernelView, age_s: float) -> str:
    """What ``%gpu budget`` says of the kernel itself."""
    spent = f"{format_dollars(spent_now(view, age_s))} spent{_simulated(view)}"
    own = next((budget for budget in view.budgets if budget.scope is BudgetScope.KERNEL), None)
    most = own.limit_nanodollars if own is not None else view.budget_nanodollars
    if most is None:
        return f"{name} has no budget; {spent}. `%gpu budget 5.00` sets one"
    left = f"{format_dollars(max(0, most - spent_now(view, age_s)))} of {format_dollars(most)} left{_simulated(view)}"
    author = f" (set by {own.by or 'an admin'}, an admin)" if own is not None and own.set_by is SetBy.ADMIN else ""
    return f"{name}: {left}{author}, {spent}"


def limit_text(limits: UserLimits, scope: BudgetScope, *, yours: bool = True) -> str:
    """One of a user's budgets, in a line; real and simulated money stand apart."""
    limit = limits.of(scope)
    name = {
        BudgetScope.KERNEL: "each kernel",
        BudgetScope.USER: "in all",
        BudgetScope.MONTH: f"month {limits.month} (UTC)",
    }[scope]
    if limit.limit_nanodollars is None:
        return f"{name}: no budget{_spent_text(limit)}"
    own = "set by you" if yours else f"set by {limit.by}"
    author = f"set by {limit.by}, an admin" if limit.set_by is SetBy.ADMIN else own
    if scope is BudgetScope.KERNEL:
        return f"{name}: at most {format_dollars(limit.limit_nanodollars)} ({author})"
    amounts = [_left_and_spent(limit.limit_nanodollars, limit.spent_nanodollars or 0)]
    if limit.spent_simulated_nanodollars:
        simulated = _left_and_spent(limit.limit_nanodollars, limit.spent_simulated_nanodollars)
        amounts.append(f"in simulated dollars, apart: {simulated}")
    return f"{name}: {'; '.join(amounts)} ({author})"


def _left_and_spent(most: int, spent: int) -> str:
    left = format_dollars(max(0, most - spent))
    return f"{left} of {format_dollars(most)} left, {format_dollars(spent)} spent"


def _spent_text(limit: ScopeLimit) -> str:
    if limit.spent_nanodollars is None:
        return ""
    text = f"; {format_dollars(limit.spent_nanodollars)} spent"
    if limit.spent_simulated_nanodollars:
        text += f", and {format_dollars(limit.spent_simulated_nanodollars)} in simulated dollars"
    return text


def new_warnings(view: KernelView, told: set[str]) -> list[str]:
    """The sentences about budgets that have not been told yet; ``told`` is brought up to date."""
    due = [budget.warning for budget in view.budgets if budget.warning]
    due = due or ([view.budget_warning] if view.budget_warning else [])
    new = [warning for warning in due if warning not in told]
    told.intersection_update(due)
    told.update(new)
    return new


def used_up_text(view: KernelView, *, stopped: bool, cell: str = "%%gpu cell") -> str:
    """Why the GPU went back, and the cell with it if it was ``stopped``, in plain words."""
    kept = "are kept" if view.state is KernelState.SUSPENDED else "are lost"
    raising = how_to_raise(view)
    return (
        f"{_exhausted(view)}, so {'the cell was stopped and ' if stopped else ''}"
        f"the GPU released; the variables over there {kept}. {raising[:1].upper()}{raising[1:]} for the next {cell}"
    )


def stopped_text(view: KernelView) -> str:
    """Why a cell was stopped, when it is not known yet what became of its variables."""
    return f"{_exhausted(view)}, so the cell was stopped and the GPU released; {how_to_raise(view)} for the next cell"


def how_to_raise(view: KernelView) -> str:
    """Who can do what about the budget that ended the lease."""
    budget = _ended_by(view)
    if budget is not None and budget.set_by is SetBy.ADMIN:
        return "an admin can raise it" if not budget.by else f"an admin, like {budget.by}, can raise it"
    if budget is None or budget.scope is BudgetScope.KERNEL:
        return "`%gpu budget AMOUNT` raises it"
    return f"`%gpu budget {budget.scope.value} AMOUNT` raises it"


def _ended_by(view: KernelView) -> BudgetView | None:
    """The budget with the least left; None where the broker names none."""
    return view.budgets[0] if view.budgets else None


def _exhausted(view: KernelView) -> str:
    budget = _ended_by(view)
    if budget is None or budget.scope is BudgetScope.KERNEL:
        most = budget.limit_nanodollars if budget is not None else view.budget_nanodollars
        amount = "" if most is None else f" of {format_dollars(most)}{_simulated(view)}"
        return f"this kernel's budget{amount} is used up"
    amount = f"{format_dollars(budget.limit_nanodollars)}{_mark(budget.simulated)}"
    what = "for this month" if budget.scope is BudgetScope.MONTH else "for all that you use"
    used_up = budget.spent_nanodollars >= budget.limit_nanodollars
    return f"your budget of {amount} {what} {'is used up' if used_up else 'has nothing left for this kernel'}"


def _mark(simulated: bool) -> str:
    return " (simulated)" if simulated else ""


def _simulated(view: KernelView) -> str:
    """Money that is simulated in part is marked, too: whoever mixes the two has been told."""
    simulated, spent = view.spent_simulated_nanodollars, view.spent_nanodollars
    if not simulated:
        return " (simulated)" if view.gpus is not None and view.gpus.simulated else ""
    return " (simulated)" if simulated == spent else f" ({format_dollars(simulated)} of what was spent is simulated)"
