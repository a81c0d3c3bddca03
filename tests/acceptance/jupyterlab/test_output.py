"""What ``%%gpu`` cells print and show stands where a local cell's would."""

from __future__ import annotations

import pytest

from .conftest import NewNotebook
from .lab import role

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

PRINTS = """%%gpu H100
import sys
print("to stdout")
print("to stderr", file=sys.stderr)
b"the result"
"""
SHOWS = """%%gpu H100
import matplotlib.pyplot as plt
from IPython.display import HTML, display
display(HTML("<b id='made-over-there'>bold</b>"))
plt.figure(figsize=(2, 1)); plt.plot([1, 3, 2]); plt.show()
"""
BARS = """%%gpu H100
from tqdm import tqdm
from tqdm.notebook import tqdm as tqdm_notebook
for _ in tqdm(range(20), desc="text bar"): pass
for _ in tqdm_notebook(range(20), desc="widget bar"): pass
"""


async def test_streams_result_and_status_line(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("streams", ["%load_ext perijove", PRINTS, "(_, Out[2])"])
    await notebook.run(0, 1, 2)
    outputs = await notebook.outputs(1)
    assert [(output["output_type"], output.get("name")) for output in outputs] == [
        ("stream", "stdout"),
        ("stream", "stderr"),
        ("execute_result", None),
        ("display_data", None),
    ]
    assert outputs[2]["execution_count"] == (await notebook.cell(1))["execution_count"] == 2
    assert outputs[2]["data"]["text/plain"] == "b'the result'"
    assert role(outputs[3]) == "status"
    assert outputs[3]["data"]["text/plain"].startswith("H100 (simulated) · attached ")
    assert await notebook.text(2) == "(b'the result', b'the result')"


async def test_html_and_plots_are_shown(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("shows", ["%load_ext perijove", SHOWS])
    await notebook.run(0, 1)
    cell = await notebook.locate(1)
    await cell.locator("#made-over-there").wait_for()
    assert await cell.locator(".jp-OutputArea-output img").count() == 1
    assert [role(output) for output in await notebook.outputs(1)] == [None, None, "status"]


async def test_progress_bars(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("bars", ["%load_ext perijove", BARS])
    await notebook.run(0, 1)
    assert "text bar: 100%" in await notebook.text(1)
    cell = await notebook.locate(1)
    await cell.locator(".progress-bar-success").wait_for()
    await notebook.wait_for_text(1, "widget bar: 100%")


async def test_dollars_are_no_formula(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("dollars", ["%load_ext perijove", "%%gpu H100\n1", "%gpu bill"])
    await notebook.run(0, 1, 2)
    await notebook.wait_for_text(2, "total $0.0000 · simulated")  # a quick cell is "<$0.0001"
    assert await (await notebook.locate(2)).locator("mjx-container").count() == 0
