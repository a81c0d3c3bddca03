"""Output larger than what travels at a time."""

from __future__ import annotations

from .notebook_kernel import NotebookKernel, role


def test_a_display_larger_than_the_agents_window_arrives(notebook: NotebookKernel):
    cell = notebook.run("%%gpu H100\nfrom IPython.display import HTML\ndisplay(HTML('x' * 6_000_000))\nprint('after')")
    assert cell.ok, cell.error
    (shown,) = [message for message in cell.of("display_data") if not role(message)]
    assert len(shown["content"]["data"]["text/html"]) == 6_000_000
    assert cell.stdout == "after\n"
    assert cell.status_line


def test_a_result_larger_than_the_agents_window_arrives(notebook: NotebookKernel):
    cell = notebook.run("%%gpu H100\n'x' * 5_000_000", timeout_s=30)
    assert len(cell.result or "") == 5_000_002
