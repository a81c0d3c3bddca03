"""``perijove top`` beside a notebook whose cell runs, and where there is nothing to show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import perijove
from .notebook_kernel import NotebookKernel
from .observing import wait_until


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
