"""A release keeps the variables while no process of the kernel has opened a GPU (DESIGN.md §3, tier 1)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from perijove.remote_agent import gpu_use
from perijove.remote_agent.gpu_use import GpuUse
from perijove.remote_agent.runtime.environment import MARK

OPENS = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for ``/dev/nvidia0``."""
    device = tmp_path / "nvidia0"
    device.touch()
    monkeypatch.setattr(gpu_use, "_DEVICES", (str(device),))
    monkeypatch.setattr(gpu_use, "_DRIVERS", (str(device),))
    return device


def start(mark: str, path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", OPENS, str(path)],
        env={MARK: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    return child


@pytest.fixture
def holder(device: Path) -> Iterator[subprocess.Popen[str]]:
    child = start("agent-1.run:aa", device)
    with child:
        yield child
        child.kill()


async def test_a_process_that_opened_a_gpu_is_not_keepable(holder: subprocess.Popen[str]) -> None:
    use = GpuUse()
    assert await use.look("agent-1.run:aa")
    assert not use.keepable
    assert not await use.look("agent-1.run:aa")  # nothing new


async def test_it_is_keepable_again_when_that_process_is_gone(holder: subprocess.Popen[str]) -> None:
    use = GpuUse()
    await use.look("agent-1.run:aa")
    holder.kill()
    holder.wait()
    assert await use.look("agent-1.run:aa")
    assert use.keepable


async def test_other_kernels_processes_do_not_count(holder: subprocess.Popen[str]) -> None:
    use = GpuUse()
    await use.look("agent-1.run:bb")
    assert use.keepable


async def test_other_files_do_not_count(device: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with start("agent-1.run:cc", tmp_path / "plain") as child:
        use = GpuUse()
        await use.look("agent-1.run:cc")
        assert use.keepable
        child.kill()
