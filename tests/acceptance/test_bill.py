"""A notebook's bill from its cells to its file: what `%gpu bill` shows and embeds, and `perijove bill` reads again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nbformat

from .conftest import perijove
from .notebook_kernel import NotebookKernel


def test_a_notebooks_bill_is_shown_kept_in_its_file_and_read_again_without_a_broker(
    own_env: dict[str, str], own_notebook: NotebookKernel, tmp_path: Path
) -> None:
    file = tmp_path / "work.ipynb"
    own_notebook.run(f"__vsc_ipynb_file__ = {str(file)!r}")
    assert own_notebook.run("%%gpu H100\nx = 1").ok
    assert own_notebook.run("%gpu release").ok
    cell = own_notebook.run("%gpu bill --embed")
    (shown,) = cell.of("execute_result")
    assert "cost by day (UTC)" in shown["content"]["data"]["text/plain"]
    assert "<svg" in shown["content"]["data"]["text/html"]
    output = nbformat.v4.output_from_msg({"header": {"msg_type": "execute_result"}, "content": shown["content"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%gpu bill", outputs=[output])]), file)

    bill = json.loads(perijove(own_env, "bill", "--json"))
    receipt = json.loads(perijove({"PERIJOVE_DATA": str(tmp_path / "none")}, "bill", str(file), "--json"))
    assert receipt["simulated_nanodollars"] == bill["simulated_nanodollars"] > 0
    assert receipt["total_nanodollars"] == bill["total_nanodollars"] == 0
    assert [lease["id"] for lease in receipt["leases"]] == [lease["id"] for lease in bill["leases"]]
    told = perijove({"COLUMNS": "120"}, "bill", str(file))
    assert "H100 (simulated)" in told
    assert "by the notebook's own receipt" in told
    assert not (tmp_path / "none").exists()

    by_notebook = own_notebook.run("%gpu bill --by notebook")
    assert "work.ipynb" in (by_notebook.result or "")
    rows = list(csv.DictReader(io.StringIO(perijove(own_env, "bill", "--by", "notebook", "--csv"))))
    assert [(row["key"], int(row["simulated_nanodollars"])) for row in rows] == [
        (str(file), bill["simulated_nanodollars"])
    ]
    text = perijove(own_env, "bill")
    assert "simulated" in text
    assert "█ busy" in text
