"""``perijove top`` beside a notebook, its keys, and draining by key, command and signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from .conftest import perijove
from .notebook_kernel import NotebookKernel
from .observing import held_gpus, wait_until
from .terminal import Terminal


def test_what_a_running_cell_does(perijove_env: dict[str, str], notebook: NotebookKernel) -> None:
    notebook.run("%%gpu H100\nx = 1")

    def shown() -> list[str]:
        return perijove(perijove_env | {"COLUMNS": "160"}, "top", "--once").splitlines()

    wait_until(lambda: any("GiB" in line and "held by" not in line for line in shown()))  # the first sample is there
    heading, *lines = shown()
    assert "GPUs held" in heading
    assert "simulated $" in heading
    assert any("H100 (simulated)" in line and "W" in line and "°C" in line for line in lines)
    document = json.loads(perijove(perijove_env, "top", "--json"))
    assert any(gpu["usage"] for agent in document["agents"] for gpu in agent["gpus"])


def test_where_no_broker_runs_none_is_started(own_env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no broker runs here"):
        perijove(own_env, "top", "--once")
    assert not (Path(own_env["PERIJOVE_DATA"]) / "embedded" / "broker.json").exists()


def live(environment: dict[str, str], directory: Path, columns: int, rows: int) -> Terminal:
    return Terminal(
        environment, directory, program=("perijove.cli", "top"), columns=columns, rows=rows, ready="r release · d drain"
    )


@pytest.mark.parametrize(("columns", "rows"), [(120, 40), (60, 24)])
def test_keys_release_and_drain(
    own_env: dict[str, str], own_notebook: NotebookKernel, tmp_path: Path, columns: int, rows: int
) -> None:
    own_notebook.run("%%gpu H100\nkept = 41")
    with live(own_env, tmp_path, columns, rows) as top:
        top.wait_for("1 of 2 GPUs held")
        top.press("r")
        top.wait_for("select a row first")
        top.press("\x1b[B\x1b[Br")  # the device that is not held, and what a release of it would mean
        top.wait_for("no kernel of yours holds that device")
        top.press("\x1b[A" + "r")
        top.wait_for("its variables are kept")
        top.press("n")
        top.wait_for("nothing was done")
        assert held_gpus(own_env) == 1
        top.press("ry")
        top.wait_for("0 of 2 GPUs held")
        assert own_notebook.run("%%gpu H100\nprint(kept + 1)").stdout == "42\n"

        top.wait_for("1 of 2 GPUs held")
        top.press("d")
        top.wait_for("it takes no new work")
        top.press("y")
        top.wait_for("drains; d takes that back")
        top.wait_for("(drained)")  # what was idle is released by then
        refused = own_notebook.run("%%gpu H100\nprint(kept)")
        assert refused.error.startswith("VariablesElsewhere")
        assert "is draining (asked by" in refused.error
        top.press("dy")
        top.wait_for("takes new work again")
        assert own_notebook.run("%%gpu H100\nprint(kept)").stdout == "41\n"
        top.press("q")
        assert top.wait_for_end() == 0


def test_a_broker_that_goes_and_comes_back(
    own_env: dict[str, str], own_notebook: NotebookKernel, tmp_path: Path
) -> None:
    own_notebook.run("%%gpu H100\nx = 1")
    with live(own_env, tmp_path, 80, 24) as top:
        top.wait_for("1 of 2 GPUs held")
        about = Path(own_env["PERIJOVE_DATA"]) / "embedded" / "broker.json"
        broker = psutil.Process(json.loads(about.read_text())["pid"])
        broker.suspend()
        try:
            shown = top.wait_for("as of")
            assert "the broker does not answer" in shown
            assert "1 of 2 GPUs held" in shown
            assert "r release · d drain" in shown
            top.press("jry")
            top.wait_for("look whether it was done")
        finally:
            broker.resume()
        top.wait_for("0 of 2 GPUs held")  # it was
        assert "as of" not in top.text
        top.press("q")
        assert top.wait_for_end() == 0


def test_draining_by_command(own_env: dict[str, str], own_notebook: NotebookKernel) -> None:
    own_notebook.run("%%gpu H100\nkept = 1")
    agent = json.loads(perijove(own_env, "status", "--json"))["agents"][0]["name"]
    with pytest.raises(AssertionError, match=f"there is no agent 'nobody' at this broker; there is: {agent}"):
        perijove(own_env, "drain", "nobody")
    with pytest.raises(AssertionError, match="--undo goes with neither"):
        perijove(own_env, "drain", agent, "--undo", "--wait")
    running = own_notebook.start("%%gpu H100\nimport time\ntime.sleep(600)")
    wait_until(lambda: json.loads(perijove(own_env, "status", "--json"))["kernels"][0]["busy"])
    command = [sys.executable, "-m", "perijove.cli", "drain", agent, "--wait", "--within", "500"]
    with subprocess.Popen(command, env=own_env, stdout=subprocess.PIPE, text=True) as draining:
        assert draining.stdout is not None
        first = draining.stdout.readline()
        own_notebook.interrupt()
        last = draining.stdout.read().splitlines()[-1]
        assert draining.wait(30) == 0
    own_notebook.finish(running)
    assert first.startswith(f"{agent} is draining: 1 kernel still on it, released at ")
    assert last.startswith(f"{agent} is drained: no kernel holds a GPU there; 1 kernel would lose their variables")
    assert perijove(own_env, "drain", agent, "--undo") == f"{agent} takes new work again\n"
    assert own_notebook.run("%%gpu H100\nprint(kept)").stdout == "1\n"


def test_an_agent_that_is_told_by_a_signal(own_env: dict[str, str], own_notebook: NotebookKernel) -> None:
    own_notebook.run("%%gpu H100\nkept = 1")

    def state() -> str:
        return str(json.loads(perijove(own_env, "status", "--json"))["agents"][0]["state"])

    (agent,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if {"agent", "--broker"} <= set(process.info["cmdline"] or ())
        and any(own_env["PERIJOVE_DATA"] in word for word in process.info["cmdline"])
    )
    agent.send_signal(signal.SIGUSR1)
    wait_until(lambda: state() == "drained")
    assert "asked by the agent itself, 1 suspended there" in perijove(own_env | {"COLUMNS": "160"}, "status")
    refused = own_notebook.run("%%gpu H100\nprint(kept)")
    assert refused.error.startswith("VariablesElsewhere")
    agent.send_signal(signal.SIGUSR1)
    wait_until(lambda: state() == "connected")
    assert own_notebook.run("%%gpu H100\nprint(kept)").stdout == "1\n"


def test_who_may_not_drain_is_told_so(own_env: dict[str, str], own_notebook: NotebookKernel, tmp_path: Path) -> None:
    own_notebook.run("%%gpu H100\nx = 1")
    embedded = Path(own_env["PERIJOVE_DATA"]) / "embedded"
    url, admin = json.loads((embedded / "broker.json").read_text())["url"], (embedded / "token").read_text().strip()
    made = httpx.post(
        f"{url}/api/tokens",
        json={"role": "user", "name": "bob"},
        headers={"Authorization": f"Bearer {admin}"},
        trust_env=False,
    )
    as_bob = own_env | {"PERIJOVE_URL": url, "PERIJOVE_TOKEN": made.json()["token"]}
    with live(as_bob, tmp_path, 100, 24) as top:
        top.wait_for("someone else")  # holds it: whose kernel it is, is nobody's business
        top.press("jr")
        top.wait_for("no kernel of yours holds that device")
        top.press("dy")
        top.wait_for("this needs a token of role admin; yours is of role user")
        top.wait_for("1 of 2 GPUs held")
        top.press("q")
        assert top.wait_for_end() == 0
