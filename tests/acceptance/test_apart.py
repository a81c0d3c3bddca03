"""The same two programs run apart: a broker, an agent that only dials out, and a notebook told where the broker is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import perijove
from .notebook_kernel import NotebookKernel


@pytest.fixture
def apart(own_env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """A notebook's environment with a broker and an agent started by hand."""
    environment = {name: value for name, value in own_env.items() if name != "PERIJOVE_SIMULATE"}
    command = [sys.executable, "-m", "perijove.cli"]
    broker = subprocess.Popen([*command, "broker", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True)
    agent = None
    try:
        assert broker.stdout is not None
        url = re.search(r"http://\S+:\d+", broker.stdout.readline())[0]
        user = perijove(environment, "token", "create", "--role", "user", "--name", "ada").strip()
        token_file = tmp_path / "agent.token"
        token_file.write_text(perijove(environment, "token", "create", "--role", "agent", "--name", "gpu-box"))
        arguments = ["--broker", url, "--token-file", str(token_file), "--simulate", "L4:1", "--name", "gpu-box"]
        agent = subprocess.Popen([*command, "agent", *arguments], env=environment)
        yield environment | {"PERIJOVE_URL": url, "PERIJOVE_TOKEN": user}
    finally:
        for process in (agent, broker):
            if process is not None:
                process.terminate()
                assert process.wait(15) in (0, -15)
        broker.stdout.close()


def test_a_notebook_uses_an_agent_elsewhere(apart: dict[str, str], tmp_path: Path):
    with NotebookKernel(apart, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        cell = run_when_there(notebook, "%%gpu L4\nimport os\nprint('over there', os.getcwd() != '/')")
        assert cell.stdout == "over there True\n"
        assert cell.status_line.startswith("L4 (simulated)")
        assert "gpu-box" in notebook.run("%gpu").result
    lines = json.loads(perijove(apart, "bill", "--json"))["leases"]
    assert [(line["gpu"], line["user"], line["agent"]) for line in lines] == [("L4", "ada", "gpu-box")]
    header, row = perijove(apart, "bill", "--csv").splitlines()
    assert header.split(",")[0] == "id"
    assert str(lines[0]["cost_nanodollars"]) in row.split(",")


def test_a_wrong_token_is_refused_in_one_sentence(apart: dict[str, str], tmp_path: Path):
    with NotebookKernel(apart | {"PERIJOVE_TOKEN": "wrong"}, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        result = notebook.run("%%gpu L4\npass", timeout_s=10)
        assert result.error.startswith("NotAuthorized: ")


def test_a_broker_that_is_not_there_is_said_within_seconds(own_env: dict[str, str], tmp_path: Path):
    nowhere = own_env | {"PERIJOVE_URL": "http://127.0.0.1:9", "PERIJOVE_TOKEN": "t"}
    with NotebookKernel(nowhere, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        assert notebook.run("%%gpu H100\npass", timeout_s=15).error.startswith("BrokerUnreachable: ")
        assert "no GPUs to list" in notebook.run("%gpu list", timeout_s=15).result


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["broker", "--host", "0.0.0.0"], "--insecure"),
        (["agent", "--broker", "http://gpu.example:80", "--token-file", os.devnull], "--insecure"),
        (["agent", "--broker", "http://127.0.0.1:9", "--token-file", "/no/such/file"], "cannot be read"),
        (["token", "create", "--role", "king", "--name", "x"], "--role"),
    ],
)
def test_what_is_unsafe_or_wrong_is_refused_in_one_line(own_env: dict[str, str], arguments: list[str], says: str):
    done = subprocess.run(
        [sys.executable, "-m", "perijove.cli", *arguments], env=own_env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def run_when_there(notebook: NotebookKernel, code: str):
    """Run a cell, again while the agent has not registered yet."""
    deadline = time.monotonic() + 30
    while True:
        cell = notebook.run(code, timeout_s=60)
        if cell.ok or not cell.error.startswith("NoSuchGpu") or time.monotonic() > deadline:
            return cell
