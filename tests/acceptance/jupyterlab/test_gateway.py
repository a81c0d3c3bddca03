"""JupyterLab with ``--gateway-url``: its own server keeps the notebooks, and all of its kernels are the broker's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext

from ..jupyter_servers import Server, broker
from ..observing import held_gpus
from .lab import Lab, Notebook
from .server import JupyterLabServer
from .test_gpu_kernel import COMES_OUT, without_magic
from .test_widgets import SLIDER

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

NAME = "perijove-h100"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def behind() -> AsyncIterator[Server]:
    with ExitStack() as stack:
        yield stack.enter_context(broker(Path(tempfile.mkdtemp(prefix="pj-"))))


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def gateway_server(behind: Server) -> AsyncIterator[JupyterLabServer]:
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    options = [f"--gateway-url={behind.url.rstrip('/')}", f"--GatewayClient.auth_token={behind.token}"]
    async with JupyterLabServer(directory, options=options) as server:
        yield server
    shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def gateway_lab(gateway_server: JupyterLabServer, context: BrowserContext) -> AsyncIterator[Lab]:
    page = await context.new_page()
    lab = Lab(page, gateway_server.notebooks)
    await lab.load(gateway_server.lab_url("gateway"))
    yield lab
    await page.close()


@pytest_asyncio.fixture(loop_scope="package")
async def notebook(gateway_lab: Lab) -> AsyncIterator[Notebook]:
    cells = [COMES_OUT, "import time\nprint('asleep', flush=True)\ntime.sleep(60)", "_ + 1", without_magic(SLIDER)]
    notebook = await gateway_lab.new_notebook("behind", [*cells, "'again'"], NAME)
    yield notebook
    await notebook.close()


async def test_the_launcher_offers_the_brokers_kernels(gateway_lab: Lab) -> None:
    await gateway_lab.command("launcher:create")
    cards = gateway_lab.page.locator('.jp-LauncherCard[data-category="Notebook"]')
    await cards.first.wait_for()
    names = [text.strip() for text in await cards.all_inner_texts()]
    assert [name for name in names if "GPU" in name or "Python" in name] == ["GPU · any", "GPU · H100"]
    await gateway_lab.command("application:close-all")


async def test_a_notebook(notebook: Notebook, behind: Server) -> None:
    await notebook.wait_for_status("idle")
    assert held_gpus(behind.environment) == 0
    await notebook.run(0)
    assert await notebook.text(0) == "to stdout\nto stderr\n<IPython.core.display.HTML object>42"
    assert held_gpus(behind.environment) == 1
    running = notebook.start(1)
    await notebook.wait_for_text(1, "asleep")
    await notebook.interrupt()
    await running
    assert "KeyboardInterrupt" in await notebook.text(1)
    await notebook.run(2, 3)
    assert await notebook.text(2) == "43"
    await (await notebook.locate(3)).get_by_role("slider").press("ArrowRight")
    await notebook.wait_for_text(3, "moved to 4")
    await notebook.restart_kernel()
    await notebook.run(4)
    assert await notebook.lab.page.locator(".jp-Dialog").count() == 0, "nothing has died"
    assert (await notebook.cell(4))["execution_count"] == 1
    assert await notebook.text(4) == "'again'"


async def test_the_panel(gateway_lab: Lab) -> None:
    notebook = await gateway_lab.new_notebook("behind-panel", ["x = 1", "%gpu monitor"], NAME)
    try:
        await notebook.wait_for_status("idle")
        await notebook.run(0, 1)
        panel = (await notebook.locate(1)).locator(".perijove-panel")
        await panel.locator(".state", has_text="idle, released in").wait_for()
        await panel.locator("figcaption", has_text="Memory").wait_for()
        await panel.get_by_role("button", name="Release now").click()
        await panel.locator(".state", has_text="released, variables kept").wait_for()
        await panel.get_by_role("button", name="Resume").click()
        await panel.locator(".state", has_text="idle, released in").wait_for()
    finally:
        await notebook.close()
