"""Where the stand-in for NVIDIA's library is, and how a process is made to load it: its source says what it does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def build(directory: Path) -> Path:
    """Compile it into this directory, under the name of the real one."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, so no stand-in for NVIDIA's library")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", directory / "libnvidia-ml.so.1", SOURCE], check=True)
    return directory


def environment_of(library: Path, directory: Path) -> dict[str, str]:
    """For a program that is to find the stand-in; in ``directory`` are its files ``state``, ``figures``, ``events``."""
    return {
        "LD_LIBRARY_PATH": str(library),
        "NVML_STAND_IN": str(directory / "state"),
        "NVML_FIGURES": str(directory / "figures"),
        "NVML_EVENTS": str(directory / "events"),
        "PERIJOVE_GPU_LOCKS": str(directory / "locks"),
    }
