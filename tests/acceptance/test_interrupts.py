"""The stop button, a cell that will not stop, and a time limit."""

from __future__ import annotations

import time

import pytest

from .notebook_kernel import NotebookKernel


@pytest.mark.parametrize(
    ("body", "id_"),
    [
        ("import time\ntime.sleep(60)", "sleep"),
        ("import asyncio\nawait asyncio.sleep(60)", "await"),
        ("while True:\n    pass", "busy loop"),
        ("while True:\n    print('x' * 50)", "print storm"),
        ("!sleep 60", "subprocess"),
    ],
    ids=lambda value: value if len(value) < 12 and "\n" not in value else "",
)
def test_stop_interrupts_the_remote_code(notebook: NotebookKernel, body: str, id_: str):
    notebook.run("%%gpu H100\npass")
    cell = notebook.start(f"%%gpu H100\nprint('begun', flush=True)\nkept = 1\n{body}")
    notebook.wait_for(cell, "begun")
    started = time.monotonic()
    notebook.interrupt()
    result = notebook.finish(cell, timeout_s=20)
    assert time.monotonic() - started < 8
    # As in a plain ipykernel: an interrupted await is cancelled, an interrupted !command raises nothing.
    expected = {"await": "CancelledError", "subprocess": None}.get(id_, "KeyboardInterrupt")
    assert result.reply["content"].get("ename") == expected
    after = notebook.run("%%gpu H100\nprint('goes on', kept)")
    assert after.stdout == "goes on 1\n"
    assert notebook.run("kept").result == "1"


def test_a_cell_that_ignores_stop_is_named_and_blocks_the_next(notebook: NotebookKernel):
    stubborn = """%%gpu H100
import time
print('begun', flush=True)
until = time.monotonic() + 6
while time.monotonic() < until:
    try:
        time.sleep(6)
    except KeyboardInterrupt:
        pass
outcome = 'done'
"""
    notebook.run("%%gpu H100\npass")
    cell = notebook.start(stubborn)
    notebook.wait_for(cell, "begun")
    notebook.interrupt()
    time.sleep(0.5)
    notebook.interrupt()  # pressed again: the cell returns
    result = notebook.finish(cell, timeout_s=4)
    number = result.reply["content"]["execution_count"]
    assert result.error.startswith(f"KernelBusy: cell [{number}] did not stop; it still runs on H100 (simulated)")
    assert "is billed" in result.error
    blocked = notebook.run("%%gpu H100\nprint('too early')")
    assert blocked.error.startswith(f"KernelBusy: cell [{number}] still runs on H100")
    assert "%gpu restart" in blocked.error
    deadline = time.monotonic() + 15
    while not (later := notebook.run("%%gpu H100\nprint(outcome)")).ok and time.monotonic() < deadline:
        time.sleep(0.2)
    assert later.stdout == "done\n"  # it had not been lost: its variables came when it was over


def test_restart_ends_a_cell_that_ignores_stop(notebook: NotebookKernel):
    stubborn = (
        "%%gpu H100\nimport time\nprint('begun', flush=True)\n"
        "while True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass"
    )
    notebook.run("%%gpu H100\npass")
    cell = notebook.start(stubborn)
    notebook.wait_for(cell, "begun")
    notebook.interrupt()
    time.sleep(0.5)
    notebook.interrupt()
    notebook.finish(cell, timeout_s=4)
    assert "restarted" in notebook.run("%gpu restart").stdout
    assert notebook.run("%%gpu H100\nprint('fresh')").stdout == "fresh\n"


def test_a_cell_over_its_time_limit_is_interrupted(notebook: NotebookKernel):
    notebook.run("%%gpu H100\npass")
    result = notebook.run("%%gpu H100 --timeout 0.5\nimport time\nhalf = 1\ntime.sleep(60)", timeout_s=20)
    assert result.error == "CellTimeout: the cell was interrupted after its --timeout of 0.5 s"
    assert notebook.run("half").result == "1"
