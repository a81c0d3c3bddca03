"""``%gpu bill``: its options, and a bill as it is shown: a table, the bars beneath it, and a receipt if one is wanted.

A kernel cannot write into the notebook that a front-end holds. What it can do is show an output whose metadata is the
receipt; the front-end saves that with the notebook like any other output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from ..errors import UsageError
from ..models import Bill, By, Receipt
from ..money import format_dollars
from .bars import as_text, bars_of
from .bars_picture import as_html
from .tables import Table, bill_table, groups_table

BYS: tuple[By, ...] = get_args(By)
RECEIPT_ROLE = "receipt"


@dataclass(frozen=True, slots=True)
class BillOptions:
    everything: bool = False
    by: By | None = None  # None: lease by lease
    embed: bool = False


def read_bill_options(words: Sequence[str]) -> BillOptions:
    """
    Raises:
        UsageError: when they cannot be read.
    """
    everything, by, embed = False, None, False
    left = list(words)
    while left:
        match left.pop(0):
            case "--all":
                everything = True
            case "--embed":
                embed = True
            case "--by" if left and left[0] in BYS:
                found = left.pop(0)
                by = next(known for known in BYS if known == found)
            case "--by":
                raise UsageError(f"%gpu bill --by takes one of {', '.join(BYS)}, like %gpu bill --by day")
            case _:
                raise UsageError(
                    "%gpu bill shows this notebook's bill, %gpu bill --all everything of yours; "
                    "--by day|gpu|kernel|notebook|user breaks it down, --embed keeps a receipt in the notebook"
                )
    if everything and embed:
        raise UsageError("%gpu bill --embed keeps a receipt of this notebook; leave --all out")
    return BillOptions(everything, by, embed)


class BillReport(Table):
    """A bill as the value of a line. ``metadata`` goes with the output, under Perijove's name."""

    def __init__(self, bill: Bill, options: BillOptions) -> None:
        table = bill_table(bill) if options.by is None else groups_table(bill)
        super().__init__(table.headings, table.rows, table.note)
        self._bars = bars_of(bill)
        self._lines = budget_lines(bill)
        if options.embed:
            self._lines.append(
                "This output is the receipt, and is saved with the notebook; `perijove bill NOTEBOOK.ipynb` prints it."
            )
            receipt = Receipt.of(bill).model_dump(mode="json")
            self.metadata = {"perijove": {"role": RECEIPT_ROLE, **receipt}}

    def __repr__(self) -> str:
        bars = [as_text(self._bars)] if self._bars is not None else []
        return "\n".join([super().__repr__(), *self._lines, *bars])

    def _repr_html_(self) -> str:
        lines = "".join(Table([], [], line)._repr_html_() for line in self._lines)
        return super()._repr_html_() + lines + ("" if self._bars is None else as_html(self._bars))


def budget_lines(bill: Bill) -> list[str]:
    """What is left of the budgets of kernels that have one."""
    return [
        f"budget of kernel {budget.kernel}: {format_dollars(budget.left_nanodollars)} of "
        f"{format_dollars(budget.budget_nanodollars)} left"
        + (" (spending in it is simulated)" if budget.spent_simulated_nanodollars else "")
        for budget in bill.budgets
    ]
