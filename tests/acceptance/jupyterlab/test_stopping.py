"""The stop button reaches a ``%%gpu`` cell wherever it is, and a failing one stops Run All."""

from __future__ import annotations

import re
import time

import pytest

from .conftest import NewNotebook

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

LOAD = "%load_ext perijove"
SLEEPS = "%%gpu H100\nimport time\nprint('asleep', flush=True)\ntime.sleep(60)"
PRINTS = "%%gpu H100\nimport time\nn = 0\nwhile True:\n    print('line', n)\n    n += 1\n    time.sleep(0.001)"
AWAITS = "%%gpu H100\nimport asyncio\nprint('awaiting', flush=True)\nawait asyncio.sleep(60)"
SECONDS = 10.0
ANSI = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize(
    ("cell", "sign"), [(SLEEPS, "asleep"), (PRINTS, "line 100"), (AWAITS, "awaiting")], ids=["sleep", "prints", "await"]
)
async def test_stop(new_notebook: NewNotebook, cell: str, sign: str, request: pytest.FixtureRequest) -> None:
    notebook = await new_notebook(request.node.callspec.id, [LOAD, cell, "%%gpu\n'goes on'"])
    await notebook.run(0)
    running = notebook.start(1)
    await notebook.wait_for_text(1, sign)
    pressed_at = time.monotonic()
    await notebook.interrupt()
    await running
    assert time.monotonic() - pressed_at < SECONDS
    errors = [output for output in await notebook.outputs(1) if output["output_type"] == "error"]
    assert [error["ename"] for error in errors] == ["KeyboardInterrupt" if cell is not AWAITS else "CancelledError"]
    await notebook.run(2)
    assert await notebook.text(2) == "'goes on'"


async def test_a_failing_cell_stops_run_all(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("run-all", [LOAD, "%%gpu H100\n1 / 0", "print('must not run')"])
    await notebook.run_all()
    outputs = await notebook.outputs(1)
    assert [output["output_type"] for output in outputs] == ["error", "display_data"]
    assert outputs[0]["ename"] == "ZeroDivisionError"
    assert outputs[0]["evalue"] == "division by zero"
    assert "1 / 0" in ANSI.sub("", "\n".join(outputs[0]["traceback"]))
    assert await notebook.outputs(2) == []
    assert (await notebook.cell(2))["execution_count"] is None
