"""The kernel that the tests of GPU kernels are about, and what a person does to a notebook besides running cells."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page

from .lab import Notebook
from .server import JupyterLabServer

KERNEL = os.environ.get("PERIJOVE_TEST_KERNEL", "perijove-h100")
IS_OURS = KERNEL.startswith("perijove")
COMPLETIONS = ".jp-Completer .jp-Completer-match"


async def press_tab(page: Page) -> list[str]:
    """What is offered behind the cursor."""
    await page.keyboard.press("Tab")
    await page.locator(COMPLETIONS).first.wait_for()
    return await page.locator(COMPLETIONS).all_inner_texts()


def kernels_with_a_gpu(server: JupyterLabServer) -> int:
    """How many kernels hold a GPU, as ``perijove status`` says."""
    kernels = json.loads(server.perijove("status", "--json"))["kernels"]
    return sum(kernel["state"] in ("starting", "attached") for kernel in kernels)


class Debugger:
    """JupyterLab's debugger, switched on for a notebook."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._page = notebook.lab.page

    async def set_breakpoint(self, index: int, line: str) -> None:
        """Click beside a line of a cell."""
        cell = await self._notebook.locate(index)
        lines = await cell.locator(".cm-line").all_inner_texts()
        place = await cell.locator(".cm-line").nth(lines.index(line)).bounding_box()
        gutter = await cell.locator(".cm-gutter.cm-breakpoint-gutter").bounding_box()
        assert place is not None
        assert gutter is not None
        await self._page.mouse.click(gutter["x"] + gutter["width"] / 2, place["y"] + place["height"] / 2)
        await cell.locator(".cm-breakpoint-icon").last.wait_for()  # the first measures the gutter, unseen

    async def wait_until_stopped(self) -> str:
        """The function in which it stopped."""
        frame = self._page.locator(".jp-DebuggerCallstack-body li.selected")
        await frame.wait_for()
        return (await frame.locator("span").first.inner_text()).strip()

    async def go_on(self) -> None:
        await self._notebook.lab.command("debugger:continue")


@asynccontextmanager
async def debugging(notebook: Notebook) -> AsyncIterator[Debugger]:
    """The bug in the toolbar, on and then off."""
    bug = notebook.toolbar_button("debugger-icon")
    await bug.click()
    await notebook.lab.page.locator(".jp-DebuggerBugButton[aria-pressed=true]").wait_for()
    yield Debugger(notebook)
    await bug.click()
    await notebook.lab.page.locator(".jp-DebuggerBugButton[aria-pressed=false]").wait_for()
