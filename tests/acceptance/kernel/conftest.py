"""Kernelspecs put in place by ``perijove install``, and front-ends that have picked one of them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import perijove, running_environment
from .front_end import GPU_KERNEL, FrontEnd


def installed(environment: dict[str, str], prefix: Path) -> dict[str, str]:
    """``environment`` with the kernelspec of an H100."""
    perijove(environment, "install", "--prefix", str(prefix), "--gpu", "H100")
    return environment | {"JUPYTER_PATH": str(prefix / "share" / "jupyter")}


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """Of kernels that share an embedded broker with eight simulated H100, so that none waits for another."""
    directory = Path(tempfile.mkdtemp(prefix="pj-"))  # short: ipc:// paths are limited
    with contextlib.contextmanager(running_environment)(directory) as environment:
        yield installed(environment | {"PERIJOVE_SIMULATE": "H100:8"}, directory / "prefix")


@pytest.fixture
def own_environment(own_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Two simulated H100 for one test alone: for those that kill things, or hold them all."""
    return installed(own_env, tmp_path / "prefix")


@pytest.fixture(scope="module", params=["python3", GPU_KERNEL])
def kernel(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FrontEnd]:
    """A kernel that a module's tests share: Jupyter's own, to know what is right, and then ours."""
    with FrontEnd(request.param, environment, tmp_path_factory.mktemp("notebook")) as front_end:
        yield front_end


@pytest.fixture(scope="module")
def gpu_kernel(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    """A GPU kernel that a module's tests share."""
    with FrontEnd(GPU_KERNEL, environment, tmp_path_factory.mktemp("notebook")) as front_end:
        yield front_end
