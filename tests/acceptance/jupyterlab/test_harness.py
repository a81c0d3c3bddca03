"""The harness itself, with cells that have no ``%%gpu`` above them."""

from __future__ import annotations

import pytest

from .conftest import NewNotebook

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]


async def test_cells_run_and_their_output_is_read(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("harness", ["print('hello'); 6 * 7", "import time; time.sleep(60)", "1 / 0"])
    await notebook.run(0)
    assert await notebook.text(0) == "hello\n42"
    assert (await notebook.cell(0))["execution_count"] == 1
    running = notebook.start(1)
    await notebook.wait_for_status("busy")
    await notebook.interrupt()
    await running
    assert "KeyboardInterrupt" in await notebook.text(1)
    await notebook.run(2)
    assert "ZeroDivisionError" in await notebook.text(2)
    assert len((await notebook.save()).cells) == 3
