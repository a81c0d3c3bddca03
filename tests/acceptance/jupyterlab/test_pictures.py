"""Notebooks that the documents show, run as their readers would.

``PERIJOVE_PICTURES=1`` takes the pictures in ``docs/images`` anew; look at them before they are committed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page

from .conftest import NewNotebook
from .lab import Lab, Notebook, role

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

ROOT = Path(__file__).parents[3]
TAKE = bool(os.environ.get("PERIJOVE_PICTURES"))
WAVE = """%%gpu H100
import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import interact

x = np.linspace(0, 10, 500)

@interact(frequency=(1, 9), damping=(0.0, 1.0))
def wave(frequency=3, damping=0.3):
    plt.figure(figsize=(6, 2.4))
    plt.plot(x, np.exp(-damping * x) * np.sin(frequency * x))
    plt.show()
"""
BAR = """%%gpu
from tqdm.notebook import tqdm

for step in tqdm(range(500), desc="steps"):
    energy = np.square(x).sum()
"""


@pytest_asyncio.fixture(loop_scope="package")
async def first_cell(lab: Lab) -> AsyncIterator[Notebook]:
    name = "first_cell.ipynb"
    shutil.copy(ROOT / "examples" / name, lab.notebooks)
    notebook = await lab.open(name)
    yield notebook
    await notebook.close()


async def test_the_first_notebook(first_cell: Notebook) -> None:
    await first_cell.run_all()
    if TAKE:  # once more, warm, as it is for everyone but the first user of a morning
        await first_cell.restart_kernel()
        await first_cell.run_all()
    # A machine that is slow to attach shows that it waits.
    outputs = [output for output in await first_cell.outputs(5) if role(output) != "progress"]
    kinds = [output["output_type"] for output in outputs]
    assert kinds == ["stream", "stream", "display_data", "display_data"]
    assert "accuracy 9" in await first_cell.text(7)
    assert "H100 (simulated)" in await first_cell.text(9)
    if TAKE:
        page = first_cell.lab.page
        await page.set_viewport_size({"width": 1200, "height": 3000})  # an editor draws only the lines in view
        cell = await first_cell.locate(5)
        for line in ("else:", "if on_cuda:", "except ImportError:", "try:"):
            await fold(cell, line)
        await page.keyboard.press("Escape")
        await take(page, "jupyterlab-gpu-cell", 1092, cell)


async def test_an_interactive_plot(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("waves", ["%load_ext perijove", WAVE, BAR])
    await notebook.run(0, 1, 2)
    cell = await notebook.locate(1)
    before = await cell.locator("img").get_attribute("src")
    frequency = cell.get_by_role("slider").first
    await frequency.press("ArrowRight")
    await frequency.press("ArrowRight")
    await notebook.wait_until(1, "(element, before) => element.querySelector('img')?.src !== before", before)
    await cell.get_by_text("5", exact=True).wait_for()
    if TAKE:
        await notebook.wait_for_status("idle")
        await take(notebook.lab.page, "jupyterlab-widgets", 900, await notebook.locate(0))


async def fold(cell: Locator, line: str) -> None:
    """Click the marker beside a line of code."""
    place = await cell.locator(".cm-line", has_text=re.compile(f"^{re.escape(line)}$")).bounding_box()
    assert place is not None
    for marker in await cell.locator(".cm-foldGutter span[title='Fold line']").all():
        box = await marker.bounding_box()
        if box is not None and abs(box["y"] - place["y"]) < place["height"] / 2:
            await marker.click()
            return
    raise AssertionError(f"no fold marker beside {line!r}")


async def take(page: Page, name: str, height: int, top: Locator) -> None:
    """A picture of the page with a cell at the top."""
    size = page.viewport_size
    assert size is not None
    await page.set_viewport_size({"width": 1200, "height": height})
    await top.evaluate("element => element.scrollIntoView({block: 'start'})")
    await page.mouse.move(0, 0)
    path = ROOT / "docs" / "images" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    await page.screenshot(path=path, animations="disabled")
    await page.set_viewport_size(size)
