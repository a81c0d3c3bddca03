"""``%gpu bill`` in JupyterLab: the picture beneath the table, its dollars no formulas, and the receipt in the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from perijove.cli.receipts import notebook_receipt

from .conftest import NewNotebook
from .lab import Lab

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]


# Of all that is drawn: which phases a quick cell's bill has, and so which shapes, is not known.
INKS = """picture => [...picture.querySelectorAll('*')].map(shape => {
    const {fill, stroke} = getComputedStyle(shape);
    return fill + stroke;
}).join()"""


async def test_the_bill_is_drawn_in_both_themes_and_its_receipt_saved(lab: Lab, new_notebook: NewNotebook) -> None:
    notebook = await new_notebook(
        "bill", ["%load_ext perijove", "%%gpu H100\nx = sum(range(10**6))", "%gpu bill --embed"]
    )
    await notebook.run(0, 1, 2)
    cell = await notebook.locate(2)
    picture = cell.locator("svg[role=img]")
    await picture.wait_for()
    assert "simulated (starting " in (await picture.get_attribute("aria-label") or "")
    assert await cell.locator("mjx-container, .MathJax").count() == 0, "dollars were taken for formulas"
    box = await picture.bounding_box()
    assert box is not None
    assert box["width"] >= 60
    day = cell.locator("td", has_text="20").last.locator("xpath=../td[1]")
    assert await day.evaluate("cell => cell.scrollWidth <= cell.clientWidth"), "the day is to be read in full"
    inks = set()
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        await lab.command("apputils:change-theme", theme=theme)
        await lab.page.wait_for_function(
            "dark => document.body.dataset.jpThemeLight === String(!dark)", arg=theme.endswith("Dark")
        )
        await lab.page.locator("#jupyterlab-splash").wait_for(state="detached")
        inks.add(await picture.evaluate(INKS))
        if pictures := os.environ.get("PERIJOVE_PICTURES_OF_BILLS"):
            await lab.page.screenshot(path=str(Path(pictures) / f"bill {theme}.png"))
    assert len(inks) == 2, "they have the theme's colours"
    await notebook.save()
    receipt = notebook_receipt(notebook.file)
    assert receipt.simulated_nanodollars > 0 == receipt.total_nanodollars
