"""``perijove bill``: CSV, and what a saved notebook has cost."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from perijove.cli.bill import GROUP_COLUMNS, write_csv
from perijove.cli.receipts import notebook_receipt, receipt_table
from perijove.wire.errors import UsageError
from perijove.wire.models import Bill, BillGroup, BillLine, Receipt


def line(number: int, *, busy_ms: int = 1000, closed: bool = True, **more: Any) -> BillLine:
    facts = {
        "id": f"lease-{number}", "kernel": "k", "user": "ada", "gpu": "H100", "count": 1, "agent": "host-a",
        "simulated": False, "opened_at": f"2026-11-24T01:00:0{number}.000Z",
        "closed_at": "2026-11-24T02:00:00.000Z" if closed else None,
        "starting_ms": 10, "busy_ms": busy_ms, "idle_ms": 90, "price_microdollars_per_second": 1000,
        "cost_nanodollars": 1000 * (busy_ms + 100),
    }  # fmt: skip
    return BillLine(**{**facts, **more})


def receipt(*lines: BillLine, as_of: str = "2026-11-24T03:00:00.000Z", saved: int = 0) -> dict[str, Any]:
    bill = Bill(total_nanodollars=0, simulated_nanodollars=0, leases=list(lines), as_of=as_of, saved_nanodollars=saved)
    return Receipt.of(bill).model_dump(mode="json")


def saved(path: Path, *outputs: dict[str, Any], run: dict[str, Any] | None = None) -> Path:
    shown = [{"output_type": "execute_result", "data": {}, "metadata": {"perijove": facts}} for facts in outputs]
    cells = [{"cell_type": "markdown", "source": "x"}, {"cell_type": "code", "outputs": shown}]
    path.write_text(json.dumps({"cells": cells, "metadata": {} if run is None else {"perijove": run}}))
    return path


# CSV ------------------------------------------------------------------------------------------------------------------


def written(bill: Bill) -> list[dict[str, str]]:
    text = io.StringIO()
    write_csv(bill, text)
    return list(csv.DictReader(io.StringIO(text.getvalue())))


def test_a_row_for_each_lease_with_the_columns_of_the_document() -> None:
    (row,) = written(Bill(total_nanodollars=0, simulated_nanodollars=0, leases=[line(1, closed=False)]))
    assert list(row) == list(BillLine.model_fields)
    assert (row["id"], row["closed_at"], row["cost_nanodollars"]) == ("lease-1", "", "1100000")


def test_a_row_for_each_group() -> None:
    groups = [BillGroup(key="=HYPERLINK()", user="ada", cost_nanodollars=5, saved_nanodollars=7)]
    (row,) = written(Bill(total_nanodollars=5, simulated_nanodollars=0, by="notebook", groups=groups))
    assert list(row) == GROUP_COLUMNS
    assert row["key"] == "'=HYPERLINK()", "what a notebook is called is no formula"
    assert (row["cost_nanodollars"], row["saved_nanodollars"], row["simulated_nanodollars"]) == ("5", "7", "0")


def test_without_anything_there_is_still_a_header() -> None:
    text = io.StringIO()
    write_csv(Bill(total_nanodollars=0, simulated_nanodollars=0, by="day"), text)
    assert text.getvalue().split() == [",".join(GROUP_COLUMNS)]


# receipts -------------------------------------------------------------------------------------------------------------


def test_a_run_says_what_it_has_cost(tmp_path: Path) -> None:
    found = notebook_receipt(saved(tmp_path / "a.ipynb", run=receipt(line(1), line(2, simulated=True), saved=9)))
    assert (found.total_nanodollars, found.simulated_nanodollars, found.saved_nanodollars) == (1_100_000, 1_100_000, 9)
    assert "simulated $0.0011, not in the total" in repr(receipt_table(found))


def test_several_receipts_count_each_lease_once_and_the_newest_says_what_it_came_to(tmp_path: Path) -> None:
    early = {"role": "receipt", **receipt(line(1, busy_ms=500, closed=False), as_of="2026-11-24T01:00:02.000Z")}
    late = {"role": "receipt", **receipt(line(1), line(2))}
    for outputs in ((early, late), (late, early)):
        found = notebook_receipt(saved(tmp_path / "a.ipynb", *outputs))
        assert [item.id for item in found.leases] == ["lease-1", "lease-2"]
        assert found.total_nanodollars == 2_200_000
        assert found.as_of == late["as_of"]


def test_a_receipt_of_an_earlier_version_is_read_by_its_leases(tmp_path: Path) -> None:
    older = receipt(line(1))
    for name in ("as_of", "total_nanodollars", "simulated_nanodollars", "saved_nanodollars"):
        del older[name]
    assert notebook_receipt(saved(tmp_path / "a.ipynb", run=older)).total_nanodollars == 1_100_000


def test_other_outputs_are_no_receipts(tmp_path: Path) -> None:
    status = {"role": "status", "cost_nanodollars": 5}
    with pytest.raises(UsageError, match=r"has no receipt; `perijove run`"):
        notebook_receipt(saved(tmp_path / "a.ipynb", status))
    with pytest.raises(UsageError, match="has no receipt"):
        notebook_receipt(saved(tmp_path / "b.ipynb", run={"cost_nanodollars": None, "status": "running"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cost_nanodollars": 1}, "does not add up at lease lease-1"),
        ({"busy_ms": -1}, "does not add up"),
        ({"count": "many"}, r"leases\.0\.count"),
    ],
)
def test_a_receipt_that_was_edited_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    edited = receipt(line(1))
    edited["leases"][0] |= change
    with pytest.raises(UsageError, match=said):
        notebook_receipt(saved(tmp_path / "a.ipynb", run=edited))


@pytest.mark.parametrize("text", ["hello", "[]", '{"cells": 5, "metadata": []}', '{"cells": [1, {"outputs": [2]}]}'])
def test_what_is_no_notebook_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "text.ipynb"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"no notebook|no receipt"):
        notebook_receipt(path)
