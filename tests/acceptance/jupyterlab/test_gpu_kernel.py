"""A notebook whose kernel is a GPU: what stands under its cells is what a Python kernel would put there.

``PERIJOVE_TEST_KERNEL=python3`` runs the same tests on ipykernel itself, to see what is JupyterLab's doing.
"""

from __future__ import annotations

import asyncio

import pytest

from .conftest import NewNotebook
from .gpu_kernel import KERNEL, debugging, press_tab
from .test_widgets import ANYWIDGET, LOOP, SLIDER

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

COMES_OUT = """import sys
from IPython.display import HTML, display
print("to stdout", flush=True)
print("to stderr", file=sys.stderr)
display(HTML("<b id='made-over-there'>bold</b>"))
6 * 7
"""
PLOT = """import matplotlib.pyplot as plt
plt.figure(figsize=(2, 1)); plt.plot([1, 3, 2]); plt.show()
"""
BARS = """from tqdm.notebook import tqdm
for _ in tqdm(range(20), desc="widget bar"): pass
"""
FUNCTION = """def double(number):
    "Twice as much."
    twice = number * 2
    return twice
double(21)
"""


def without_magic(cell: str) -> str:
    """A cell for ``%%gpu`` as a GPU kernel takes it."""
    return cell.removeprefix("%%gpu H100\n")


async def test_streams_displays_results_and_numbers(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("comes-out", [COMES_OUT, "_ + 1, Out[1], In[1][:10]"], KERNEL)
    await notebook.run(0, 1)
    assert [(output["output_type"], output.get("name")) for output in await notebook.outputs(0)] == [
        ("stream", "stdout"),
        ("stream", "stderr"),
        ("display_data", None),
        ("execute_result", None),
    ]
    assert [(await notebook.cell(index))["execution_count"] for index in (0, 1)] == [1, 2]
    assert await notebook.text(1) == "(43, 42, 'import sys')"
    await (await notebook.locate(0)).locator("#made-over-there").wait_for()


async def test_plots_and_progress_bars(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("plots", [PLOT, BARS], KERNEL)
    await notebook.run(0, 1)
    assert await (await notebook.locate(0)).locator(".jp-OutputArea-output img").count() == 1
    bar = await notebook.locate(1)
    await bar.locator(".progress-bar-success").wait_for()
    await notebook.wait_for_text(1, "widget bar: 100%")


async def test_a_slider_calls_back_also_while_a_cell_runs(new_notebook: NewNotebook) -> None:
    cells = [without_magic(SLIDER), without_magic(LOOP), "slider.value"]
    notebook = await new_notebook("slider", cells, KERNEL)
    await notebook.run(0)
    handle = (await notebook.locate(0)).get_by_role("slider")
    await handle.press("ArrowRight")
    await notebook.wait_for_text(0, "moved to 4")
    running = notebook.start(1)
    await notebook.wait_for_text(1, "waiting")
    await handle.press("End")
    await handle.press("ArrowLeft")
    await running
    assert "saw 9" in await notebook.text(1)
    await notebook.wait_for_text(0, "moved to 9")
    await notebook.run(2)
    assert await notebook.text(2) == "9"


async def test_binary_buffers_travel_both_ways(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("anywidget", [without_magic(ANYWIDGET), "(doubler.data, heard)"], KERNEL)
    await notebook.run(0)
    button = (await notebook.locate(0)).locator("button.doubler")
    await button.filter(has_text="1 2 3").click()
    await button.filter(has_text="2 4 6").wait_for()
    await (await notebook.locate(0)).get_by_title("answered 3 2 1").wait_for()
    await notebook.run(1)
    assert await notebook.text(1) == r"(b'\x02\x04\x06', [('clicked', b'\x01\x02\x03')])"


async def test_a_failing_cell_stops_run_all(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("run-all", ["1 / 0", "print('must not run')", "'goes on'"], KERNEL)
    await notebook.run_all()
    (error,) = await notebook.outputs(0)
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert await notebook.outputs(1) == []
    await notebook.run(2)
    assert await notebook.text(2) == "'goes on'"


async def test_input(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("asks", ["name = input('who? ')\nprint('hello', name)"], KERNEL)
    running = notebook.start(0)
    field = (await notebook.locate(0)).locator("input.jp-Stdin-input")
    await field.fill("Ada")
    await field.press("Enter")
    await running
    assert "hello Ada" in await notebook.text(0)


async def test_tab_and_shift_tab(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("typing", [FUNCTION, "", ""], KERNEL)
    await notebook.run(0)
    page = notebook.lab.page
    await notebook.type(1, "'abc'.is")
    assert {"isalpha", "isupper"} <= set(await press_tab(page))
    await page.keyboard.press("Escape")
    await notebook.type(2, "double(")
    await page.keyboard.press("Shift+Tab")
    await page.locator(".jp-Tooltip").filter(has_text="Twice as much.").wait_for()
    await page.keyboard.press("Escape")


async def test_the_debugger_stops_at_a_breakpoint(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("debugged", ["1", FUNCTION], KERNEL)
    await notebook.run(0)
    async with debugging(notebook) as debugger:
        await debugger.set_breakpoint(1, "    return twice")
        running = notebook.start(1)
        assert await debugger.wait_until_stopped() == "double"
        await debugger.go_on()
        await asyncio.wait_for(running, 30)
    assert await notebook.text(1) == "42"
