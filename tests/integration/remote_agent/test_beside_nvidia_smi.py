"""Our figures beside nvidia-smi's: on a real device where there is one; the comparing itself on a stand-in."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .nvml_programs import H100
from .nvml_stand_in import environment_of

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "beside_nvidia_smi.py"
# What nvidia-smi answers, in the order of its fields.
AT_REST = "0, 1024, 81559, 70.10, 700.00, 31, 345, 347, 0, 0"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("beside_nvidia_smi", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.gpu
@pytest.mark.parametrize("phase", ["at rest", "a matrix product", "10 GB allocated"])
def test_on_a_real_device(script: ModuleType, phase: str) -> None:
    try:
        driver, gpu = script.device()
    except script.NothingToCompare as nothing:
        pytest.skip(f"our figures were not compared with nvidia-smi's: {nothing}")
    try:
        found = script.compare(phase, driver, gpu)
    except script.NothingToCompare as nothing:
        pytest.skip(f"{phase} was not compared: {nothing}")
    finally:
        driver.close()
    print(f"\n{gpu.name}\n{script.as_markdown(found)}")
    assert [comparison for comparison in found if not comparison.agrees] == []
    if phase == "10 GB allocated":
        (memory,) = [comparison.ours for comparison in found if comparison.quantity.ours == "memory_used_bytes"]
        assert memory * script.MIB >= script.ALLOCATION_BYTES


@pytest.mark.parametrize(("answer", "status"), [(AT_REST, 0), (AT_REST.replace("1024", "9999"), 1)])
def test_the_comparing(nvml_library: Path, tmp_path: Path, answer: str, status: int) -> None:
    (tmp_path / "state").write_text(f"{H100}|NVIDIA H100 80GB HBM3|81559|0|0|\n")
    (tmp_path / "figures").write_text("70000 700000 1 31 345 0 0 1024")
    told = tmp_path / "nvidia-smi"
    told.write_text(f"#!/bin/sh\necho '{answer}'\n")
    told.chmod(0o755)
    environment = os.environ | environment_of(nvml_library, tmp_path)
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    command = [sys.executable, SCRIPT, "at rest", "10 GB allocated"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| at rest")]
    assert "| at rest | power, W | 70 | 70.1 |  |" in rows, done.stderr
    memory = next(row for row in rows if "memory in use" in row)
    assert ("differs" in memory) == bool(status)
    assert done.returncode == status
    assert "10 GB allocated" not in done.stdout, "there is no device to run it on"
    assert "10 GB allocated: left out" in done.stderr
