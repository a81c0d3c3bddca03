"""The panel in JupyterLab: it comes by itself below a cell that takes long, tells the truth, and its buttons work.

``PERIJOVE_PICTURES=1`` takes the pictures in ``docs/images`` anew; look at them before they are committed.
"""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Locator

from .conftest import NewNotebook
from .gpu_kernel import kernels_with_a_gpu
from .lab import Notebook, role
from .server import JupyterLabServer
from .test_pictures import TAKE, take

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

LOAD = "%load_ext perijove"
# A simulated device follows its kernel's CPU, so the cell keeps one busy.
WORK = """%%gpu H100
import time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    sum(range(100_000))
print("worked")
"""


# As uneven as training is: a simulated device is as busy as its kernel.
TRAINING = """%%gpu any --budget 0.10
import math, time
weights = bytearray(900_000_000)
for epoch in range(20):
    for step in range(20):
        busy_until = time.monotonic() + 0.1 + 0.1 * math.sin(step / 3)
        while time.monotonic() < busy_until:
            sum(range(10_000))
        time.sleep(0.05)
print("trained")
"""


async def panel_of(notebook: Notebook, index: int) -> Locator:
    panel = (await notebook.locate(index)).locator(".perijove-panel").last
    await panel.wait_for()
    return panel


def button(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("button", name=name, exact=True)


async def test_a_long_cell_shows_what_its_gpu_does_and_costs(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("panel-long", [LOAD, WORK.format(seconds=8)])
    await notebook.run(0)
    running = notebook.start(1)
    panel = await panel_of(notebook, 1)
    await panel.get_by_text("H100 on", exact=False).first.wait_for()
    await panel.get_by_text("simulated", exact=True).wait_for()
    await panel.locator(".state", has_text=re.compile("^busy$")).wait_for()
    await panel.locator("figcaption", has_text=re.compile(r"GPU\d+ %")).wait_for()
    await panel.locator(".price", has_text=re.compile(r"\$\d+\.\d{4} simulated")).wait_for()
    before = await panel.locator(".price strong").inner_text()
    await notebook.wait_until(1, "(cell, before) => cell.querySelector('.price strong').textContent !== before", before)
    await running
    await panel.locator(".state", has_text=re.compile(r"^idle, released in \d+ s, variables kept$")).wait_for()
    outputs = await notebook.outputs(1, panel=True)
    assert [role(output) for output in outputs if role(output) in ("panel", "status")] == ["panel", "status"]
    kept = next(output for output in outputs if role(output) == "panel")["data"]["text/plain"]
    assert "simulated" in kept
    assert re.search(r"idle, released in .* as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "".join(kept))


async def test_interrupt_keep_and_release(new_notebook: NewNotebook, jupyterlab: JupyterLabServer) -> None:
    notebook = await new_notebook("panel-buttons", [LOAD, WORK.format(seconds=60)])
    await notebook.run(0)
    running = notebook.start(1)
    panel = await panel_of(notebook, 1)
    interrupt = button(panel, "Interrupt")
    await notebook.wait_until(1, "(cell) => !cell.querySelector('.perijove-panel button:disabled')", None)
    await interrupt.click()
    await running
    assert "KeyboardInterrupt" in await notebook.text(1)

    panel = await panel_of(notebook, 1)
    await button(panel, "Keep 10 min more").click()
    await panel.locator(".state", has_text=re.compile(r"released in 1\d min")).wait_for()
    held = kernels_with_a_gpu(jupyterlab)  # other tests' kernels, too

    await button(panel, "Release now").click()
    await panel.locator(".state", has_text="released, variables kept").wait_for()
    await panel.get_by_text("not billed now").wait_for()
    assert kernels_with_a_gpu(jupyterlab) < held

    await button(panel, "Resume").click()
    await panel.locator(".state", has_text="idle, released in").wait_for()
    assert kernels_with_a_gpu(jupyterlab) > 0


async def test_releasing_under_a_cell_is_asked_about_first(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("panel-sure", [LOAD, WORK.format(seconds=60)])
    await notebook.run(0)
    running = notebook.start(1)
    panel = await panel_of(notebook, 1)
    await panel.locator(".state", has_text=re.compile("^busy$")).wait_for()
    await button(panel, "Release now").press("Enter")
    await panel.get_by_text("Release? Then the cell is stopped.").wait_for()
    await button(panel, "No").press("Enter")
    await panel.locator(".state", has_text=re.compile("^busy$")).wait_for()
    await button(panel, "Release now").press("Enter")
    await button(panel, "Yes, release").press("Enter")
    await running
    await panel.locator(".state", has_text="released").wait_for()
    assert "worked" not in await notebook.text(1)


async def test_it_lives_on_in_a_page_that_was_reloaded(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("panel-reload", [LOAD, "%%gpu H100\nx = 1", "%gpu monitor"])
    await notebook.run(0, 1, 2)
    panel = await panel_of(notebook, 2)
    await panel.locator("figcaption", has_text="Memory").wait_for()
    await notebook.save()
    await notebook.lab.reload()
    panel = await panel_of(notebook, 2)
    await panel.locator(".state", has_text="idle, released in").wait_for()
    await button(panel, "Release now").click()
    await panel.locator(".state", has_text="released, variables kept").wait_for()


@pytest.mark.parametrize("reloaded", ["attached", "released"])
async def test_the_gpu_kernels_own_panel(new_notebook: NewNotebook, reloaded: str) -> None:
    notebook = await new_notebook(
        f"panel-kernel-{reloaded}",
        ["import ipywidgets\nipywidgets.IntSlider(value=4)", "%gpu monitor", "import time\ntime.sleep(60)"],
        kernel="perijove-h100",
    )
    await notebook.run(0, 1)
    panel = await panel_of(notebook, 1)
    await panel.locator(".state", has_text="idle, released in").wait_for()
    await panel.locator("figcaption", has_text="Power").wait_for()
    running = notebook.start(2)
    await panel.locator(".state", has_text=re.compile("^busy$")).wait_for()
    await button(panel, "Interrupt").click()
    await running
    assert "KeyboardInterrupt" in await notebook.text(2)
    await panel.locator(".state", has_text="idle, released in").wait_for()
    if reloaded == "released":
        await button(panel, "Release now").click()
        await panel.locator(".state", has_text="released, variables kept").wait_for()
    await notebook.save()
    await notebook.lab.reload()
    panel = await panel_of(notebook, 1)
    if reloaded == "released":
        await button(panel, "Resume").click()
    await panel.locator(".state", has_text="idle, released in").wait_for()
    await button(panel, "Keep 10 min more").click()
    await panel.locator(".state", has_text=re.compile(r"released in 1\d min")).wait_for()


@pytest.mark.parametrize("kernel", ["python3", "perijove-h100"])
async def test_the_status_is_the_panel_where_it_can_be_seen(new_notebook: NewNotebook, kernel: str) -> None:
    first = [LOAD, "%%gpu H100\nx = 1"] if kernel == "python3" else ["x = 1", "y = 2"]
    notebook = await new_notebook(f"panel-status-{kernel}", [*first, "%gpu"], kernel=kernel)
    await notebook.run(0, 1, 2)
    panel = await panel_of(notebook, 2)
    await panel.locator(".state", has_text="idle, released in").wait_for()
    assert "attached" in await notebook.text(2), "the table is saved for who sees no widget"


async def test_waiting_for_a_gpu_is_shown_with_why_and_can_be_stopped(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("panel-queue", [LOAD, "%%gpu H100\nx = 1", "%%gpu H100:2\ny = 1"])
    await notebook.run(0, 1)  # one of the two there are
    waiting = notebook.start(2)
    panel = await panel_of(notebook, 2)
    await panel.locator(".state", has_text="waiting").wait_for()
    await panel.get_by_text("waiting for H100:2", exact=False).first.wait_for()
    await panel.get_by_text("not billed now").wait_for()
    await button(panel, "Stop waiting").click()
    await waiting
    assert "AttachCancelled" in await notebook.text(2)


@pytest.mark.skipif(not TAKE, reason="takes pictures for the documents, with PERIJOVE_PICTURES=1")
async def test_pictures(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("train", [LOAD, TRAINING])
    await notebook.run(0)
    running = notebook.start(1)
    panel = await panel_of(notebook, 1)
    await asyncio.sleep(40)  # charts with something in them
    for theme, name in (("Dark", "jupyterlab-panel-dark"), ("Light", "jupyterlab-panel")):
        await notebook.lab.command("apputils:change-theme", theme=f"JupyterLab {theme}")
        await panel.locator("figcaption", has_text=re.compile(r"GPU\d+ %")).wait_for()
        await asyncio.sleep(2)
        await take(notebook.lab.page, name, 640, await notebook.locate(0))
    await running
