"""The first things a person does."""

from __future__ import annotations

from .notebook_kernel import NotebookKernel


def test_a_cell_runs_remotely_and_comes_back(notebook: NotebookKernel):
    cell = notebook.run("%%gpu H100\nprint('hello')\nx = 6 * 7\nx")
    assert cell.ok, cell.error
    assert cell.stdout == "hello\n"
    assert cell.result == "42"
    assert cell.status_line.startswith("H100 (simulated) · attached ")
    assert notebook.run("x, _, Out[2]").result == "(42, 42, 42)"
