"""Notebook 7, which the same server offers: its page shows one notebook and nothing else."""

from __future__ import annotations

import asyncio

import nbformat
import pytest
from playwright.async_api import BrowserContext, WebSocket

from .lab import PYTHON
from .server import TOKEN, JupyterLabServer

pytest.importorskip("notebook", reason="this needs Notebook 7")
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

CELLS = [
    "%load_ext perijove",
    "%%gpu H100\nimport os\nprint('over there', 6 * 7)\n[os.sep] * 2",
    "%%gpu\nimport time\nfor _ in range(300): time.sleep(0.1)",
]
IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'


async def test_cells_and_the_panel_in_notebook_7(jupyterlab: JupyterLabServer, context: BrowserContext) -> None:
    name = "seven.ipynb"
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=PYTHON), jupyterlab.notebooks / name)
    page = await context.new_page()
    heard = asyncio.Event()  # the kernel has said something: before it is connected, cells are run in vain

    def listen(socket: WebSocket) -> None:
        if "/channels" in socket.url:
            socket.on("framereceived", lambda _: heard.set())

    page.on("websocket", listen)
    try:
        root = jupyterlab.lab_url().partition("lab?")[0]
        await page.goto(f"{root}notebooks/{name}?token={TOKEN}")
        await heard.wait()
        await page.locator(IDLE).wait_for()
        first, second = page.locator(".jp-CodeCell").nth(0), page.locator(".jp-CodeCell").nth(1)
        await first.locator(".cm-content").click()
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.press("Shift+Enter")
        outputs = second.locator(".jp-OutputArea-output")
        await outputs.filter(has_text="H100 (simulated) · ").wait_for()
        texts = [text.strip() for text in await outputs.all_inner_texts()]
        printed, result, status = [text for text in texts if text]  # a line of progress has been there and gone
        assert (printed, result) == ("over there 42", "['/', '/']")
        assert status.startswith("H100 (simulated) · attached ")
        await page.keyboard.press("Shift+Enter")
        panel = page.locator(".jp-CodeCell").nth(2).locator(".perijove-panel")
        await panel.locator(".state", has_text="busy").wait_for()
        await panel.locator("figcaption", has_text="Memory").wait_for()
        await panel.get_by_role("button", name="Interrupt").click()
        await panel.locator(".state", has_text="idle, released in").wait_for()
    finally:
        await page.close()
