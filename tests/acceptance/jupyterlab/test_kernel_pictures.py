"""Takes the pictures of GPU kernels in ``docs/images``: with ``PERIJOVE_PICTURES=1``; look at them before they are
committed. What they show is tested in the modules beside this one."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from .conftest import NewNotebook
from .lab import Lab
from .server import JupyterLabServer
from .test_gateway import behind, gateway_lab, gateway_server
from .test_pictures import BAR, ROOT, TAKE, WAVE

__all__ = ["behind", "gateway_lab", "gateway_server"]  # fixtures

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.xdist_group("jupyterlab"),
    pytest.mark.skipif(not TAKE, reason="takes pictures for the documents, with PERIJOVE_PICTURES=1"),
]
GPU = "perijove-h100"
PLOT = WAVE.partition("\n")[2].replace("@interact(frequency=(1, 9), damping=(0.0, 1.0))", "@interact(frequency=(1, 9))")


async def take(page: Page, name: str, height: int) -> None:
    size = page.viewport_size
    assert size is not None
    await page.set_viewport_size({"width": 1100, "height": height})
    await page.mouse.move(0, 0)
    await page.wait_for_timeout(700)  # transitions of the page's layout
    await page.screenshot(path=ROOT / "docs" / "images" / f"{name}.png", animations="disabled")
    await page.set_viewport_size(size)


async def test_launcher(lab: Lab) -> None:
    await lab.command("launcher:create")
    await lab.page.locator(".jp-LauncherCard img").first.wait_for()
    await take(lab.page, "jupyterlab-launcher", 620)
    await lab.command("application:close-all")


async def test_notebook(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("waves", [PLOT, BAR.partition("\n")[2], "%gpu"], GPU)
    await notebook.run(0, 1, 2)
    await notebook.lab.command("notebook:move-cursor-up")
    await take(notebook.lab.page, "jupyterlab-gpu-kernel", 900)


async def test_waiting(new_notebook: NewNotebook) -> None:
    holder = await new_notebook("holder", ["1"], "perijove-h100x2")
    await holder.run(0)
    notebook = await new_notebook("waiting", ["import numpy as np\n\nnp.linspace(0, 1, 5).sum()"], GPU)
    running = notebook.start(0)
    await notebook.wait_for_text(0, "waiting for H100: 1st in line")
    await take(notebook.lab.page, "jupyterlab-waiting", 330)
    await holder.close()
    await running


async def test_unreachable(new_notebook: NewNotebook, jupyterlab: JupyterLabServer) -> None:
    with jupyterlab.kernel_environment(GPU, PERIJOVE_URL="http://127.0.0.1:9", PERIJOVE_TOKEN="unused"):
        notebook = await new_notebook("unreachable", ["6 * 7"], GPU)
    await notebook.run(0)
    await take(notebook.lab.page, "jupyterlab-unreachable", 400)


async def test_gateway(gateway_lab: Lab) -> None:
    await gateway_lab.command("application:toggle-left-area")
    await gateway_lab.command("launcher:create")
    await gateway_lab.page.locator(".jp-LauncherCard img").first.wait_for()
    await take(gateway_lab.page, "jupyterlab-gateway", 620)
    await gateway_lab.command("application:close-all")
