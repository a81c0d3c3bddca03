"""What a person typing ``%%gpu`` is helped with: Tab behind it, and its documentation."""

from __future__ import annotations

import pytest

from .conftest import NewNotebook

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETER = ".jp-Completer .jp-Completer-match"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%%gpu ", {"H100", "A100", "any", "--out", "--timeout"}),
        ("%gpu ", {"list", "bill", "release", "attach"}),
        ("%%gpu H100 --k", {"--keep", "--kernel"}),
    ],
)
async def test_tab(new_notebook: NewNotebook, typed: str, offered: set[str]) -> None:
    notebook = await new_notebook("tab", ["%load_ext perijove", ""])
    await notebook.run(0)
    await notebook.type(1, typed)
    page = notebook.lab.page
    await page.keyboard.press("Tab")
    await page.locator(COMPLETER).first.wait_for()
    shown = set(await page.locator(COMPLETER).all_inner_texts())
    await page.keyboard.press("Escape")
    assert offered <= shown


async def test_tab_takes_what_was_begun(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("tab-takes", ["%load_ext perijove", ""])
    await notebook.run(0)
    await notebook.type(1, "%%gpu B200|A100-")
    page = notebook.lab.page
    await page.keyboard.press("Tab")
    await page.locator(COMPLETER, has_text="A100-80GB").wait_for()
    await page.keyboard.press("Enter")
    await notebook.wait_for_source(1, "%%gpu B200|A100-80GB")


async def test_documentation(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("documentation", ["%load_ext perijove", "%%gpu?", "%gpu help"])
    await notebook.run(0, 1, 2)
    assert "Run this cell on a remote GPU" in await notebook.text(1)
    assert "%gpu release" in await notebook.text(2)
