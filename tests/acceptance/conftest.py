"""Real processes: an embedded broker and agent with simulated GPUs, and notebook kernels like a front-end's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .notebook_kernel import NotebookKernel
from .processes import leftovers


@pytest.fixture(scope="session")
def perijove_env() -> Iterator[dict[str, str]]:
    """The environment of notebooks that share one embedded broker; nothing of it is left afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="pj-"))  # short: ipc:// paths are limited
    yield from running_environment(directory)


@pytest.fixture
def own_env() -> Iterator[dict[str, str]]:
    """The same for one test alone: for those that kill things."""
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    yield from running_environment(directory)


def running_environment(directory: Path) -> Iterator[dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERIJOVE_")}
    environment |= {
        "PERIJOVE_DATA": str(directory / "data"),
        "PERIJOVE_SIMULATE": "H100:2",
        "IPYTHONDIR": str(directory / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
        "JUPYTER_CONFIG_DIR": str(directory / "config"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    try:
        yield environment
    finally:
        perijove(environment, "down", check=False)
        left = leftovers(str(directory))
        shutil.rmtree(directory, ignore_errors=True)
        assert not left, f"processes were left behind: {left}"


def perijove(environment: dict[str, str], *arguments: str, check: bool = True) -> str:
    """Run the ``perijove`` command; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "perijove.cli", *arguments],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def notebook(perijove_env: dict[str, str], tmp_path: Path) -> Iterator[NotebookKernel]:
    """A notebook with the extension loaded, on the shared broker."""
    with NotebookKernel(perijove_env, tmp_path) as kernel:
        kernel.run("%load_ext perijove")
        yield kernel


@pytest.fixture
def own_notebook(own_env: dict[str, str], tmp_path: Path) -> Iterator[NotebookKernel]:
    """A notebook with the extension loaded, on a broker of its own."""
    with NotebookKernel(own_env, tmp_path) as kernel:
        kernel.run("%load_ext perijove")
        yield kernel
