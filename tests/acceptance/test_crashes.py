"""Each of our processes is killed while a cell runs: one clear sentence, nothing left behind, a ledger that adds up."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import perijove
from .notebook_kernel import NotebookKernel
from .observing import held_gpus, wait_until
from .processes import named

pytestmark = pytest.mark.timeout(180)

LONG_CELL = """%%gpu H100
import os, time
print('pid', os.getpid(), flush=True)
{body}
"""


def running_cell(notebook: NotebookKernel, body: str) -> tuple[str, int]:
    """Start a long cell; returns its message id and the remote kernel's pid once it runs."""
    message_id = notebook.start(LONG_CELL.format(body=body))
    text = notebook.wait_for(message_id, "\n", timeout_s=60)
    return message_id, int(text.split("pid")[1].split()[0])


def bill_adds_up(environment: dict[str, str]) -> dict:
    """The bill, after checking each line against its own durations and the totals against the lines."""
    bill = json.loads(perijove(environment, "bill", "--json"))
    for lease in bill["leases"]:
        billed_ms = lease["starting_ms"] + lease["busy_ms"] + lease["idle_ms"]
        assert lease["cost_nanodollars"] == lease["price_microdollars_per_second"] * lease["count"] * billed_ms
    assert bill["simulated_nanodollars"] == sum(lease["cost_nanodollars"] for lease in bill["leases"])
    assert bill["total_nanodollars"] == 0
    return bill


def test_the_remote_kernel_is_killed(own_notebook: NotebookKernel, own_env: dict[str, str]):
    own_notebook.run("%%gpu H100\nkept = 1", timeout_s=60)
    cell, pid = running_cell(own_notebook, "time.sleep(60)")
    os.kill(pid, signal.SIGKILL)
    result = own_notebook.finish(cell, timeout_s=15)
    assert result.error.startswith("KernelDied: ")
    assert "killed" in result.error
    assert "variables" in result.error
    again = own_notebook.run("%%gpu H100\nprint(kept)")
    assert again.stdout == "1\n"  # its value is at home too, so it travelled again
    assert again.ok
    own_notebook.run("%gpu release")
    wait_until(lambda: held_gpus(own_env) == 0)
    bill = bill_adds_up(own_env)
    assert len(bill["leases"]) == 2
    assert all(lease["closed_at"] for lease in bill["leases"])


def test_the_agent_is_killed(own_notebook: NotebookKernel, own_env: dict[str, str]):
    cell, pid = running_cell(own_notebook, "time.sleep(60)")
    (agent,) = named(own_env["PERIJOVE_DATA"], "agent")
    agent.send_signal(signal.SIGKILL)
    result = own_notebook.finish(cell, timeout_s=60)
    assert not result.ok
    assert result.error.startswith("KernelDied: ")
    wait_until(lambda: not psutil.pid_exists(pid))
    again = own_notebook.run("%%gpu H100\nprint('back')", timeout_s=60)
    assert again.stdout == "back\n"
    own_notebook.run("%gpu release")
    wait_until(lambda: held_gpus(own_env) == 0)
    bill_adds_up(own_env)


def test_the_broker_is_killed(own_notebook: NotebookKernel, own_env: dict[str, str]):
    body = "for n in range(40):\n    print('line', n, flush=True)\n    time.sleep(0.1)\nlast = n"
    cell, pid = running_cell(own_notebook, body)
    (broker,) = named(own_env["PERIJOVE_DATA"], "up") or broker_of(own_env)
    broker.send_signal(signal.SIGKILL)
    result = own_notebook.finish(cell, timeout_s=60)
    assert result.ok, result.error
    printed = own_notebook.seen + result.stdout
    assert printed.partition("\n")[2] == "".join(f"line {n}\n" for n in range(40))
    assert "the link to the broker was down for" in result.status_line
    assert "nothing was lost" in result.status_line
    same = own_notebook.run("%%gpu H100\nimport os\nprint(os.getpid(), last)")
    assert same.stdout == f"{pid} 39\n"
    own_notebook.run("%gpu release")
    wait_until(lambda: held_gpus(own_env) == 0)
    bill = bill_adds_up(own_env)
    assert len(bill["leases"]) == 1
    assert bill["leases"][0]["busy_ms"] >= 3500


def test_the_notebook_is_killed(own_notebook: NotebookKernel, own_env: dict[str, str], tmp_path: Path):
    finished = tmp_path / "finished"
    running_cell(own_notebook, f"time.sleep(2)\nopen({str(finished)!r}, 'w').close()")
    os.kill(own_notebook.pid, signal.SIGKILL)
    wait_until(finished.exists, within_s=20)  # a lost connection is no goodbye: the cell runs to its end
    wait_until(lambda: held_gpus(own_env) == 0, within_s=40)  # and 15 s later the GPU goes back
    bill = bill_adds_up(own_env)
    assert bill["leases"][0]["closed_at"]


def test_a_notebook_that_is_shut_down_frees_its_gpu_at_once(own_env: dict[str, str], tmp_path: Path):
    with NotebookKernel(own_env, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        pid = int(notebook.run("%%gpu H100\nimport os; print(os.getpid())", timeout_s=60).stdout)
        assert held_gpus(own_env) == 1
    wait_until(lambda: held_gpus(own_env) == 0, within_s=5)
    wait_until(lambda: not psutil.pid_exists(pid), within_s=5)


@pytest.fixture
def hangups_end_processes() -> Iterator[None]:
    """As under a terminal: tests that were started with nohup would hand its ignored SIGHUP on to notebooks."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_notebook_that_is_ended_by_a_signal_frees_its_gpu_at_once(
    hangups_end_processes: None, own_notebook: NotebookKernel, own_env: dict[str, str], signum: signal.Signals
):
    own_notebook.run("%%gpu H100\npass", timeout_s=60)
    os.kill(own_notebook.pid, signum)
    wait_until(lambda: held_gpus(own_env) == 0, within_s=5)


def broker_of(environment: dict[str, str]) -> list[psutil.Process]:
    ready = json.loads((Path(environment["PERIJOVE_DATA"]) / "embedded" / "broker.json").read_text())
    return [psutil.Process(ready["pid"])]
