"""Stop, in every state that a cell can be in: it is answered at once, and the next cell runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ..notebook_kernel import CellResult
from .at_broker import state_of, wait_for_state
from .front_end import GPU_KERNEL, FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-interrupts")

BEGUN = "print('begun', flush=True)\n"


def stopped(kernel: FrontEnd, code: str) -> CellResult:
    """What a cell came to that was interrupted once it had printed that it began."""
    message_id = kernel.start(BEGUN + code)
    kernel.wait_for_text(message_id, "begun")
    check_answered(kernel)
    return kernel.finish(message_id, timeout_s=20)


def check_answered(kernel: FrontEnd) -> None:
    reply = kernel.interrupt()
    if kernel.is_gpu_kernel:
        assert reply["content"] == {"status": "ok"}


def check_next_runs(kernel: FrontEnd) -> None:
    assert kernel.run("6 * 7").result == "42"


def test_an_idle_kernel_is_interrupted_without_harm(kernel: FrontEnd):
    kernel.run("x = 1")
    check_answered(kernel)
    assert kernel.run("x").result == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import asyncio; await asyncio.sleep(60)",
        "while True: pass",
        "import threading; threading.Event().wait(60)",
        "import subprocess; subprocess.run(['sleep', '60'])",
    ],
)
def test_a_cell_that_waits_is_stopped(kernel: FrontEnd, code: str):
    if not kernel.is_gpu_kernel and "asyncio" in code:
        pytest.skip("ipykernel 7.4 wakes from asyncio.sleep only for the next message; ours sends one")
    cell = stopped(kernel, code)
    # An awaiting cell is cancelled; which of the two it shows depends on how far that has come.
    assert cell.error.startswith(("KeyboardInterrupt", "CancelledError") if "await" in code else "KeyboardInterrupt")
    check_next_runs(kernel)


def test_a_c_call_that_does_not_return_ends_first(kernel: FrontEnd):
    """Python handles signals between its own steps, here as at home; nothing is lost meanwhile."""
    code = "import ctypes\nctypes.PyDLL(None).usleep(1_500_000)\nprint('on')\nimport time; time.sleep(60)"
    cell = stopped(kernel, code)
    assert cell.error.startswith("KeyboardInterrupt")
    check_next_runs(kernel)


def test_a_storm_of_prints_is_stopped(gpu_kernel: FrontEnd):
    """The reader reads nothing until the answer is there: neither it nor the cell waits for output."""
    message_id = gpu_kernel.start("n = 0\nwhile True:\n    n += 1; print('x' * 100, flush=True)")
    time.sleep(2)
    check_answered(gpu_kernel)
    cell = gpu_kernel.finish(message_id)
    assert cell.error.startswith("KeyboardInterrupt")
    assert cell.stdout.count("\n") >= int(gpu_kernel.run("n").result or 0) - 1
    check_next_runs(gpu_kernel)


def test_queued_cells_behind_the_running_one_are_aborted(kernel: FrontEnd):
    message_id = kernel.start(BEGUN + "import time; time.sleep(60)")
    behind = kernel.start("never = 1")
    kernel.wait_for_text(message_id, "begun")
    check_answered(kernel)
    assert kernel.finish(message_id).error.startswith("KeyboardInterrupt")
    assert kernel.finish(behind).reply["content"]["status"] == "aborted"
    assert kernel.run("never").error.startswith("NameError")


def test_a_cell_that_asks_is_stopped(kernel: FrontEnd):
    message_id = kernel.start(BEGUN + "input('name? ')", allow_stdin=True)
    assert kernel.question()["content"] == {"prompt": "name? ", "password": False}
    check_answered(kernel)
    assert kernel.finish(message_id).error.startswith("KeyboardInterrupt")
    check_next_runs(kernel)


def test_a_cell_that_waits_for_a_gpu_leaves_the_queue(own_environment: dict[str, str], tmp_path: Path):
    """All GPUs are held by another."""
    everything = FrontEnd(GPU_KERNEL, own_environment, tmp_path)
    with everything, FrontEnd(GPU_KERNEL, own_environment, tmp_path) as waiting:
        assert everything.run("%gpu attach H100:2").ok
        message_id = waiting.start("print('never')")
        behind = waiting.start("print('never either')")
        waiting.wait_for(lambda m: "waiting for H100" in str(m["content"].get("data")), "the cell's waiting line")
        assert state_of(waiting) == "queued"
        check_answered(waiting)
        cell = waiting.finish(message_id)
        assert cell.error.startswith("AttachCancelled: stopped waiting for H100")
        assert len(cell.of("error")) == 1
        assert waiting.finish(behind).reply["content"]["status"] == "aborted"
        wait_for_state(waiting, "detached")
        assert everything.run("%gpu release").ok
        check_next_runs(waiting)


def test_a_cell_that_attaches_is_stopped(environment: dict[str, str], tmp_path: Path):
    """At whatever point the attach is: the cell ends by the interrupt, once, and the next one runs."""
    for wait_s in (0.0, 0.002, 0.005, 0.01, 0.02):
        with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
            message_id = kernel.start("import time; time.sleep(60)")
            time.sleep(wait_s)
            check_answered(kernel)
            cell = kernel.finish(message_id, timeout_s=20)
            assert cell.error.startswith(("AttachCancelled", "KeyboardInterrupt"))
            assert len(cell.of("error")) == 1
            check_next_runs(kernel)
