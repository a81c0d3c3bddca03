"""What a saved notebook has cost, read from its own file: no broker is asked, so it works wherever the file goes.

``perijove run`` keeps its receipt in the notebook's metadata, `%gpu bill --embed` in the metadata of an output. A
notebook may have several: they are put together lease by lease, and the newest says what a lease has come to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..wire.commands.bill import RECEIPT_ROLE
from ..wire.commands.tables import Table, bill_table
from ..wire.errors import UsageError
from ..wire.models import Bill, BillLine, Document, Receipt, ReceiptLine
from ..wire.money import cost_nanodollars


class KeptReceipt(Document):
    """What matters of a receipt in a file; all else in it follows from its leases."""

    as_of: str = ""
    saved_nanodollars: int = 0
    saved_simulated_nanodollars: int = 0
    leases: list[ReceiptLine]


def notebook_receipt(path: Path) -> Receipt:
    """
    Raises:
        UsageError: when it cannot be read, or has no receipt.
    """
    try:
        notebook = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is no notebook that can be read: it is no JSON") from None
    found = [_read(document, path) for document in _documents(notebook)]
    if not found:
        raise UsageError(f"{path} has no receipt; `perijove run` and, in a notebook, `%gpu bill --embed` write one")
    return together(found)


def _read(document: Mapping[str, Any], path: Path) -> KeptReceipt:
    try:
        receipt = KeptReceipt.model_validate(document)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UsageError(f"{path} has a receipt that cannot be read (at {where}); has it been edited?") from None
    for line in receipt.leases:
        durations = (line.starting_ms, line.busy_ms, line.idle_ms)
        numbers = (line.price_microdollars_per_second, line.count, *durations)
        if min(numbers) < 0 or cost_nanodollars(*numbers[:2], sum(durations)) != line.cost_nanodollars:
            raise UsageError(f"the receipt in {path} does not add up at lease {line.id}; has it been edited?")
    return receipt


def _documents(notebook: Any) -> Iterator[Any]:
    own = _perijove(notebook)
    if "cost_nanodollars" in own and own["cost_nanodollars"] is not None:
        yield own
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    for cell in cells if isinstance(cells, list) else ():
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in outputs if isinstance(outputs, list) else ():
            document = _perijove(output)
            if document.get("role") == RECEIPT_ROLE:
                yield document


def _perijove(holder: Any) -> Mapping[str, Any]:
    metadata = holder.get("metadata") if isinstance(holder, dict) else None
    document = metadata.get("perijove") if isinstance(metadata, dict) else None
    return document if isinstance(document, dict) else {}


def together(receipts: list[KeptReceipt]) -> Receipt:
    """One of all; each lease counts once. What releasing has saved is not said lease by lease: the newest's counts."""
    in_order = sorted(receipts, key=lambda receipt: receipt.as_of)
    lines: dict[str, ReceiptLine] = {}
    for receipt in in_order:
        lines |= {line.id: line for line in receipt.leases}
    newest = in_order[-1]
    return Receipt.of_lines(
        sorted(lines.values(), key=lambda line: (line.opened_at, line.id)),
        newest.as_of,
        newest.saved_nanodollars,
        newest.saved_simulated_nanodollars,
    )


def receipt_table(receipt: Receipt) -> Table:
    """As the bill is shown."""
    lines = [BillLine(**line.model_dump(), kernel="", user="") for line in receipt.leases]
    shown = receipt.model_dump(include={"as_of", "total_nanodollars", "simulated_nanodollars", "saved_nanodollars"})
    return bill_table(Bill(**shown, saved_simulated_nanodollars=receipt.saved_simulated_nanodollars, leases=lines))
