"""What a person typing ``%%gpu`` is helped with: Tab behind it, and its documentation."""

from __future__ import annotations

import pytest

from .conftest import NewNotebook

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

COMPLETER = ".jp-Completer .jp-Completer-match"


async def test_tab(new_notebook: NewNotebook) -> None:
    cells = {
        "%%gpu ": {"H100", "A100", "any", "--out", "--timeout"},
        "%gpu ": {"list", "bill", "release", "attach"},
        "%%gpu H100 --k": {"--keep", "--kernel"},
        "%%gpu B200|A100-": {"A100-80GB"},
    }
    notebook = await new_notebook("tab", ["%load_ext perijove", *("" for _ in cells)])
    await notebook.run(0)
    page = notebook.lab.page
    for index, (typed, offered) in enumerate(cells.items(), start=1):
        await notebook.type(index, typed)
        await page.keyboard.press("Tab")
        await page.locator(COMPLETER).first.wait_for()
        assert offered <= set(await page.locator(COMPLETER).all_inner_texts())
        await page.keyboard.press("Enter")
        await page.locator(COMPLETER).first.wait_for(state="hidden")
    sources = [(await notebook.cell(index))["source"] for index in range(1, len(cells) + 1)]
    assert sources == ["%%gpu H100", "%gpu status", "%%gpu H100 --keep", "%%gpu B200|A100-80GB"]


async def test_documentation(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("documentation", ["%load_ext perijove", "%%gpu?", "%gpu help"])
    await notebook.run(0, 1, 2)
    assert "Run this cell on a remote GPU" in await notebook.text(1)
    assert "%gpu release" in await notebook.text(2)
