"""Picking a GPU kernel, stopping and restarting it, coming back to it, and what it says while it has no GPU."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nbformat
import pytest
import pytest_asyncio

from .conftest import NewNotebook
from .gpu_kernel import IS_OURS, KERNEL, kernels_with_a_gpu
from .lab import Lab, kernelspec
from .server import JupyterLabServer

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

COUNTS = """import time
for n in range(20):
    print("line", n, flush=True)
    time.sleep(0.2)
counted = n
"""
ours_only = pytest.mark.skipif(not IS_OURS, reason="this is about GPU kernels")


@pytest_asyncio.fixture(loop_scope="package")
async def launcher(lab: Lab) -> AsyncIterator[Lab]:
    """The launcher, in front; what is opened from it is closed."""
    await lab.command("launcher:create")
    yield lab
    await lab.close_all()


@ours_only
async def test_the_launcher(launcher: Lab, jupyterlab: JupyterLabServer) -> None:
    page = launcher.page
    card = page.locator('.jp-LauncherCard[data-category="Notebook"]:visible').filter(has_text="GPU · H100").first
    logo = card.locator("img")
    await logo.wait_for()
    assert await logo.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    attached = kernels_with_a_gpu(jupyterlab)
    await card.click()
    notebook = await launcher.current_notebook()
    await notebook.wait_for_status("idle")
    await notebook.type(0, "6 * 7")
    assert kernels_with_a_gpu(jupyterlab) == attached
    await page.keyboard.press("Shift+Enter")
    await notebook.wait_for_text(0, "42")
    assert kernels_with_a_gpu(jupyterlab) == attached + 1


@ours_only
async def test_the_kernel_picker(lab: Lab, jupyterlab: JupyterLabServer) -> None:
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("6 * 7", id="picked-0")])
    nbformat.write(document, jupyterlab.notebooks / "picked.ipynb")
    await lab.command("docmanager:open", path="picked.ipynb", factory="Notebook")
    dialog = lab.page.locator(".jp-Dialog")
    await dialog.locator("select").select_option(label="GPU · H100")
    await dialog.locator(".jp-mod-accept").click()
    notebook = await lab.open("picked.ipynb")
    try:
        await notebook.run(0)
        assert await notebook.text(0) == "42"
        assert (await notebook.save()).metadata.kernelspec == kernelspec("perijove-h100")["kernelspec"]
    finally:
        await notebook.close()


async def test_stop_and_restart(new_notebook: NewNotebook) -> None:
    cells = ["x = 1\nprint('asleep', flush=True)\nimport time; time.sleep(60)", "x", "print(globals().get('x'))"]
    notebook = await new_notebook("stop", cells, KERNEL)
    running = notebook.start(0)
    await notebook.wait_for_text(0, "asleep")
    await notebook.interrupt()
    await running
    errors = [output["ename"] for output in await notebook.outputs(0) if output["output_type"] == "error"]
    assert errors == ["KeyboardInterrupt"]
    await notebook.run(1)
    assert await notebook.text(1) == "1"
    await notebook.restart_kernel()
    await notebook.run(2)
    assert await notebook.text(2) == "None\n"
    assert (await notebook.cell(2))["execution_count"] == 1


async def test_a_page_that_is_reloaded_during_a_cell(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("reloaded", [COUNTS, "counted, 'still there'"], KERNEL)
    running = notebook.start(0)
    await notebook.wait_for_text(0, "line 2")
    await notebook.save()
    running.cancel()
    await notebook.lab.reload()
    await notebook.lab.open(notebook.path)
    await notebook.run(1)
    assert await notebook.text(1) == "(19, 'still there')"
    lines = (await notebook.text(0)).splitlines()  # JupyterLab shows what it had saved, of any kernel's cell
    assert lines == [f"line {n}" for n in range(len(lines))]
    assert len(lines) > 2


async def test_a_tab_that_is_closed_and_opened_again(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("reopened", ["kept = 'kept'", "kept"], KERNEL)
    await notebook.run(0)
    await notebook.close_tab()
    await notebook.lab.open(notebook.path)
    await notebook.run(1)
    assert await notebook.text(1) == "'kept'"


@ours_only
async def test_an_idle_kernel_lets_its_gpu_go_and_the_next_cell_has_one_again(
    new_notebook: NewNotebook, jupyterlab: JupyterLabServer
) -> None:
    with jupyterlab.kernel_environment(KERNEL, PERIJOVE_IDLE_TIMEOUT_S="1"):
        notebook = await new_notebook("idle", ["kept = 'kept'", "kept"], KERNEL)
    await notebook.run(0)
    await jupyterlab.wait_until(lambda: kernels_with_a_gpu(jupyterlab) == 0)
    await notebook.wait_for_status("idle")
    await notebook.run(1)
    assert await notebook.text(1) == "'kept'"
    assert [output["output_type"] for output in await notebook.outputs(1)] == ["execute_result"]


@ours_only
async def test_waiting_for_a_gpu_is_said_and_can_be_stopped(new_notebook: NewNotebook) -> None:
    holder = await new_notebook("holder", ["1"], "perijove-h100x2")
    await holder.run(0)
    notebook = await new_notebook("waits", ["6 * 7", "'after all'"], KERNEL)
    running = notebook.start(0)
    await notebook.wait_for_text(0, "waiting for H100: 1st in line")
    await notebook.interrupt()
    await running
    assert [output["output_type"] for output in await notebook.outputs(0)] == ["error"]
    running = notebook.start(1)
    await notebook.wait_for_text(1, "waiting for H100: 1st in line")
    await holder.close()
    await running
    assert [output["output_type"] for output in await notebook.outputs(1)] == ["execute_result"]
    assert await notebook.text(1) == "'after all'"


@ours_only
async def test_a_broker_that_is_not_there_is_said_in_the_cell(
    new_notebook: NewNotebook, jupyterlab: JupyterLabServer
) -> None:
    nowhere = {"PERIJOVE_URL": "http://127.0.0.1:9", "PERIJOVE_TOKEN": "unused"}
    with jupyterlab.kernel_environment(KERNEL, **nowhere):
        notebook = await new_notebook("unreachable", ["6 * 7", "'again'"], KERNEL)
    for index in (0, 1):
        await notebook.run(index)
        (error,) = await notebook.outputs(index)
        assert error["ename"] == "BrokerUnreachable"
        assert "http://127.0.0.1:9" in error["evalue"]
    await notebook.wait_for_status("idle")


@ours_only
async def test_gpu_lines_need_no_gpu(new_notebook: NewNotebook, jupyterlab: JupyterLabServer) -> None:
    notebook = await new_notebook("lines", ["%gpu list", "%gpu"], KERNEL)
    attached = kernels_with_a_gpu(jupyterlab)
    await notebook.run(0, 1)
    await notebook.wait_for_text(0, "H100 (simulated)")
    assert kernels_with_a_gpu(jupyterlab) == attached
