"""A kernel's budget as the notebook reads and shows it. Every amount that has simulated money in it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from ..money import MOST_BUDGET_NANODOLLARS, dollars_to_nanodollars, format_dollars
from ..states import KernelState

if TYPE_CHECKING:
    from ..models import KernelView


def read_amount(text: str, where: str) -> int:
    """Dollars as a person writes them, in nano-dollars.

    Raises:
        UsageError: when that is no positive amount.
    """
    try:
        nanodollars = dollars_to_nanodollars(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if not 0 < nanodollars <= MOST_BUDGET_NANODOLLARS:
        raise UsageError(f"{where} takes an amount of dollars above zero, like 0.50, and not {text!r}")
    return nanodollars


def spent_now(view: KernelView, age_s: float) -> int:
    """What the kernel has cost by now, when its view came ``age_s`` ago."""
    lease = view.lease
    since = 0 if lease is None else int(age_s * 1000) * lease.price_microdollars_per_second * lease.count
    return view.spent_nanodollars + since


def left_text(view: KernelView, age_s: float) -> str:
    """``$0.4961 of $0.5000 left``; empty where there is no budget."""
    if view.budget_nanodollars is None:
        return ""
    left = max(0, view.budget_nanodollars - spent_now(view, age_s))
    return f"{format_dollars(left)} of {format_dollars(view.budget_nanodollars)} left{_simulated(view)}"


def budget_text(name: str, view: KernelView, age_s: float) -> str:
    """What ``%gpu budget`` says."""
    spent = f"{format_dollars(spent_now(view, age_s))} spent{_simulated(view)}"
    if view.budget_nanodollars is None:
        return f"{name} has no budget; {spent}. `%gpu budget 5.00` sets one"
    return f"{name}: {left_text(view, age_s)}, {spent}"


def used_up_text(view: KernelView, *, stopped: bool, cell: str = "%%gpu cell") -> str:
    """Why the GPU went back, and the cell with it if it was ``stopped``, in plain words."""
    budget = format_dollars(view.budget_nanodollars or 0) + _simulated(view)
    kept = "are kept" if view.state is KernelState.SUSPENDED else "are lost"
    return (
        f"this kernel's budget of {budget} is used up, so {'the cell was stopped and ' if stopped else ''}"
        f"the GPU released; the variables over there {kept}. `%gpu budget AMOUNT` raises it for the next {cell}"
    )


def _simulated(view: KernelView) -> str:
    """Money that is simulated in part is marked, too: whoever mixes the two has been told."""
    simulated, spent = view.spent_simulated_nanodollars, view.spent_nanodollars
    if not simulated:
        return " (simulated)" if view.gpus is not None and view.gpus.simulated else ""
    return " (simulated)" if simulated == spent else f" ({format_dollars(simulated)} of what was spent is simulated)"
