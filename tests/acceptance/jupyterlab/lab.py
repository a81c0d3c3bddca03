"""JupyterLab in a browser, as a test speaks of it: open a notebook, run cell 2, see what stands under it.

What a person does with the mouse and the keyboard is done so; opening, running and reading go through JupyterLab's own
commands and models (``window.jupyterapp``), because those say when they are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.async_api import Locator, Page

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
GPU_KERNELS = {"perijove-h100": "GPU · H100", "perijove-h100x2": "GPU · H100:2"}  # the kernelspecs that are installed

# How the scripts below find a notebook's panel.
PANEL = """
const panelOf = path => [...jupyterapp.shell.widgets('main')].find(w => w.context && w.context.path === path);
const activate = panel => new Promise(resolve => {
    const {shell} = jupyterapp;
    const isCurrent = () => shell.currentWidget === panel && (shell.currentChanged.disconnect(isCurrent), resolve());
    shell.currentChanged.connect(isCurrent);
    shell.activateById(panel.id);
    isCurrent();
});
"""
OPEN = """async path => {
    const panel = await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
}"""
RUN = """async ([path, index]) => {
    const panel = panelOf(path);
    await activate(panel);
    panel.content.activeCellIndex = index;
    panel.content.deselectAll();
    await jupyterapp.commands.execute('notebook:run-cell');
}"""
RUN_ALL = """async path => {
    await activate(panelOf(path));
    await jupyterapp.commands.execute('notebook:run-all-cells');
}"""
CELL = "([path, index]) => panelOf(path).content.widgets[index].model.toJSON()"
STATUS = "path => panelOf(path).sessionContext.session?.kernel?.status"
SAVE = "async path => { await panelOf(path).context.save(); }"
CURRENT = """async () => {
    const isNotebook = w => w?.content?.model && w?.sessionContext;
    while (!isNotebook(jupyterapp.shell.currentWidget)) await new Promise(resolve => setTimeout(resolve, 50));
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    return panel.context.path;
}"""
OPEN_PATHS = "() => [...jupyterapp.shell.widgets('main')].flatMap(w => w.context ? [w.context.path] : [])"
CLOSE_TAB = """async path => {
    const panel = panelOf(path);
    await panel.context.save();
    panel.dispose();
}"""
CLOSE = """async path => {
    const panel = panelOf(path);
    if (!panel) return;
    await panel.context.save();
    await panel.sessionContext.shutdown();
    panel.dispose();
    // An empty main area gets a launcher in a moment, which would come in front of the next notebook.
    const isEmpty = () => [...jupyterapp.shell.widgets('main')].length === 0;
    for (let waits = 0; isEmpty() && waits < 250; waits++) await new Promise(resolve => setTimeout(resolve, 20));
}"""


class Lab:
    """One browser page with JupyterLab in it."""

    def __init__(self, page: Page, notebooks: Path) -> None:
        self.page = page
        self.notebooks = notebooks

    async def load(self, url: str) -> None:
        await self.page.goto(url)
        await self.wait_until_restored()

    async def wait_until_restored(self) -> None:
        await self.page.wait_for_function("window.jupyterapp !== undefined")
        await self.page.evaluate("async () => { await jupyterapp.restored; }")

    async def new_notebook(self, name: str, cells: Sequence[str], kernel: str = "python3") -> Notebook:
        """Write a notebook of code cells, and open it with a kernel of its own."""
        document = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell.rstrip(), id=f"{name}-{i}") for i, cell in enumerate(cells)],
            metadata=kernelspec(kernel),
        )
        path = f"{name}.ipynb"
        nbformat.write(document, self.notebooks / path)
        return await self.open(path)

    async def open(self, path: str) -> Notebook:
        await self.page.evaluate(OPEN, path)
        return Notebook(self, path, self.notebooks / path)

    async def current_notebook(self) -> Notebook:
        """The notebook in front, when its kernel is ready."""
        path = str(await self.page.evaluate(CURRENT))
        return Notebook(self, path, self.notebooks / path)

    async def close_all(self) -> None:
        """Close what is open, and end its kernels."""
        for path in await self.page.evaluate(OPEN_PATHS):
            await Notebook(self, path, self.notebooks / path).close()
        await self.command("application:close-all")

    async def reload(self) -> None:
        await self.page.reload()
        await self.wait_until_restored()

    async def command(self, name: str, **arguments: Any) -> None:
        script = "async ([name, args]) => { await jupyterapp.commands.execute(name, args); }"
        await self.page.evaluate(script, [name, arguments])


def kernelspec(name: str) -> dict[str, Any]:
    """The metadata of a notebook for a kernel."""
    if name == "python3":
        return PYTHON
    return {"kernelspec": {"name": name, "display_name": GPU_KERNELS[name], "language": "python"}}


class Notebook:
    """One open notebook."""

    def __init__(self, lab: Lab, path: str, file: Path) -> None:
        self.lab = lab
        self.path = path
        self.file = file

    # doing ----------------------------------------------------------------------------------------------------

    async def run(self, *indices: int) -> None:
        """Run cells one after the other, until each is done."""
        for index in indices:
            await self._evaluate(RUN, [self.path, index])

    def start(self, index: int) -> asyncio.Task[None]:
        """Run a cell without waiting for its end: await the task for that."""
        return asyncio.create_task(self.run(index))

    async def run_all(self) -> None:
        """Run All, until the last cell is done or one has failed."""
        await self._evaluate(RUN_ALL, self.path)

    async def type(self, index: int, text: str) -> None:
        """Click into a cell and type, as a person does."""
        await (await self.locate(index)).locator(".cm-content").click()
        await self.lab.page.keyboard.type(text)

    async def restart_kernel(self) -> None:
        """Restart, and say yes to the question."""
        await self._panel.locator('[data-jp-item-name="restart"]').click()
        await self.lab.page.locator(".jp-Dialog .jp-mod-accept").click()
        await self.wait_for_status("idle")

    async def interrupt(self) -> None:
        """The stop button in the notebook's toolbar."""
        await self._panel.locator('[data-jp-item-name="interrupt"]').click()

    async def save(self) -> Any:
        """Save, and read the file."""
        await self._evaluate(SAVE, self.path)
        return nbformat.read(self.file, as_version=4)

    async def close(self) -> None:
        """Save, end the kernel and close the tab."""
        await self._evaluate(CLOSE, self.path)

    async def close_tab(self) -> None:
        """Save and close the tab; the kernel stays, as it does when a person closes one."""
        await self._evaluate(CLOSE_TAB, self.path)

    # seeing ---------------------------------------------------------------------------------------------------

    async def cell(self, index: int) -> dict[str, Any]:
        """A cell as it would be saved."""
        return dict(await self._evaluate(CELL, [self.path, index]))

    async def outputs(self, index: int, *, panel: bool = False) -> list[dict[str, Any]]:
        """A cell's; the panel, which any cell gets that takes more than a second, only on request."""
        outputs = (await self.cell(index))["outputs"]
        return [output for output in outputs if panel or role(output) != "panel"]

    async def text(self, index: int) -> str:
        """All text that a cell has put out, but for the status line and the live progress."""
        parts = []
        for output in await self.outputs(index):
            if output["output_type"] == "stream":
                parts.append(_joined(output["text"]))
            elif output["output_type"] == "error":
                parts.append(f"{output['ename']}: {output['evalue']}\n")
            elif role(output) is None:
                parts.append(_joined(output["data"].get("text/plain", "")))
        return "".join(parts)

    async def wait_for_status(self, status: str) -> None:
        """Wait until the kernel is ``busy`` or ``idle``, as JupyterLab sees it."""
        await self._wait(f"({STATUS})(argument[0]) === argument[1]", [self.path, status])

    async def locate(self, index: int) -> Locator:
        """A cell's element on the page, scrolled to."""
        found = self._panel.locator(".jp-Notebook .jp-Cell").nth(index)
        await found.scroll_into_view_if_needed()
        return found

    async def wait_for_text(self, index: int, text: str) -> None:
        """Wait until a cell's outputs, as shown on the page, contain a text."""
        outputs = (await self.locate(index)).locator(".jp-Cell-outputArea")
        await outputs.filter(has_text=text).wait_for()

    async def wait_until(self, index: int, condition: str, argument: Any) -> None:
        """Wait until a JavaScript function of a cell's element and the argument is true."""
        element = await (await self.locate(index)).element_handle()
        await self.lab.page.wait_for_function(f"given => ({condition})(...given)", arg=[element, argument])

    def toolbar_button(self, name: str) -> Locator:
        return self._panel.locator(f'[data-jp-item-name="{name}"]')

    @property
    def _panel(self) -> Locator:
        return self.lab.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    async def _evaluate(self, script: str, argument: Any) -> Any:
        return await self.lab.page.evaluate(f"argument => {{ {PANEL} return ({script})(argument); }}", argument)

    async def _wait(self, condition: str, argument: Any) -> None:
        await self.lab.page.wait_for_function(f"argument => {{ {PANEL} return {condition}; }}", arg=argument)


def role(output: dict[str, Any]) -> str | None:
    """What an output is for when it is one of ours: ``status`` or ``progress``."""
    found: str | None = output.get("metadata", {}).get("perijove", {}).get("role")
    return found


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
