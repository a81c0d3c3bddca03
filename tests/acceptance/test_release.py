"""A GPU goes back when the notebook is quiet: the variables stay where that is possible, and a loss is said first."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import perijove
from .notebook_kernel import NotebookKernel, role

NVIDIA_CONTROL = Path("/dev/nvidiactl")


@pytest.fixture
def quick(perijove_env: dict[str, str], tmp_path: Path) -> Iterator[NotebookKernel]:
    """A notebook whose GPU goes back after two seconds."""
    with NotebookKernel(perijove_env | {"PERIJOVE_IDLE_TIMEOUT_S": "2"}, tmp_path) as kernel:
        kernel.run("%load_ext perijove")
        yield kernel


def wait_for_state(notebook: NotebookKernel, state: str, within_s: float = 15.0) -> str:
    deadline = time.monotonic() + within_s
    while state not in (shown := notebook.run("%gpu").result or ""):
        assert time.monotonic() < deadline, f"not {state}: {shown}"
        time.sleep(0.1)
    return shown


def test_an_idle_gpu_goes_back_and_the_variables_stay(quick: NotebookKernel, perijove_env: dict[str, str]):
    first = quick.run("%%gpu H100\nimport os\nhere = os.getpid()\nlocal_only_there = open(os.devnull)")
    assert "released 2 s after the last cell, variables kept" in first.status_line
    shown = wait_for_state(quick, "suspended")
    assert "GPU released, variables kept; not billed" in shown
    held = json.loads(perijove(perijove_env, "status", "--json"))
    assert all(gpu["state"] == "free" for agent in held["agents"] for gpu in agent["gpus"])
    again = quick.run("%%gpu H100\nimport os\nprint(os.getpid() == here, local_only_there.name)")
    assert again.stdout == f"True {os.devnull}\n"
    assert "attached" in again.status_line
    lines = json.loads(perijove(perijove_env, "bill", "--json"))["leases"]
    assert all(line["closed_at"] for line in lines[:1])


def test_a_running_cell_is_never_idle(quick: NotebookKernel):
    cell = quick.run("%%gpu H100\nimport time\ntime.sleep(3)\nprint('still here')")
    assert cell.stdout == "still here\n"


def test_a_busy_local_notebook_keeps_its_gpu(quick: NotebookKernel):
    quick.run("%%gpu H100\nimport os\nprint(os.getpid())")
    local = quick.start("import time\ntime.sleep(4)")  # Run All with a slow local cell
    time.sleep(3.5)
    agents = json.loads(perijove(quick._environment, "status", "--json"))["agents"]
    assert any(gpu["state"] == "held" for agent in agents for gpu in agent["gpus"])
    quick.finish(local)
    wait_for_state(quick, "suspended")


@pytest.fixture
def driver_file() -> Iterator[Path]:
    """What a process holds open once it has initialised the NVIDIA driver; here a stand-in that leads nowhere."""
    if NVIDIA_CONTROL.exists() or os.geteuid() != 0:
        pytest.skip("needs root, and a machine without an NVIDIA driver, to make a stand-in for its device file")
    os.mknod(NVIDIA_CONTROL, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    try:
        yield NVIDIA_CONTROL
    finally:
        NVIDIA_CONTROL.unlink()


def test_a_release_that_loses_the_variables_says_so_before_and_after(notebook: NotebookKernel, driver_file: Path):
    notebook.run(f"%%gpu H100\ndriver = open({str(driver_file)!r})\nbig = bytes(2_000_000)")
    seen = notebook.run("%%gpu H100\nx = 1")
    deadline = time.monotonic() + 10
    while "lost" not in seen.status_line and time.monotonic() < deadline:
        time.sleep(0.2)
        seen = notebook.run("%%gpu H100\nx = 1")
    assert "released 600 s after the last cell, variables lost then" in seen.status_line
    assert "its variables are gone" in notebook.run("%gpu release").stdout
    assert "lost" in notebook.run("big").result
    after = notebook.run("%%gpu H100\nprint(x)")
    first_output = next(m for m in after.messages if m["msg_type"] in ("display_data", "stream"))
    assert role(first_output) == "notice"
    assert "variables" in first_output["content"]["data"]["text/plain"]
    assert after.stdout == "1\n"  # it is at home too, and travels again
    assert "big" in notebook.run("%%gpu H100\nbig").error
