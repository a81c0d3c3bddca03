"""One GPU, one holder, on one host (DESIGN.md §3)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from perijove.remote_agent.errors import GpuUnavailable
from perijove.remote_agent.gpus.gpu_lock import DIRECTORY_VARIABLE, acquire, is_locked

GPU = "GPU-5f3c2d1e-0000-1111-2222-333344445555"


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_a_gpu_is_locked_once(locks: Path) -> None:
    lock = acquire(GPU)
    with pytest.raises(GpuUnavailable, match="held by another agent"):
        acquire(GPU)
    assert is_locked(GPU)
    lock.release()
    assert not is_locked(GPU)
    acquire(GPU).release()


def test_instances_of_one_gpu_are_locked_one_by_one(locks: Path) -> None:
    """Older drivers' names for them have slashes."""
    first, second = (f"MIG-{GPU}/{instance}/0" for instance in (1, 2))
    lock = acquire(first)
    assert is_locked(first)
    assert not is_locked(second)
    acquire(second).release()
    lock.release()
    with pytest.raises(GpuUnavailable, match="is no GPU's uuid"):
        acquire("../../etc/passwd")


def test_everyone_may_lock_and_nobody_may_delete(locks: Path) -> None:
    acquire(GPU).release()
    assert stat.S_IMODE(locks.stat().st_mode) == 0o1777
    assert stat.S_IMODE((locks / GPU).stat().st_mode) == 0o644


def test_a_copy_of_the_open_file_holds_the_lock_on(locks: Path) -> None:
    lock = acquire(GPU)
    copy = os.dup(lock.fd)
    os.close(lock.fd)  # as when the agent dies and its guard lives on
    assert is_locked(GPU)
    os.close(copy)
    assert not is_locked(GPU)


def test_another_process_sees_the_lock(locks: Path) -> None:
    lock = acquire(GPU)
    program = f"from perijove.remote_agent.gpus.gpu_lock import is_locked; print(is_locked({GPU!r}))"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout == "True\n"
    lock.release()


def test_links_are_not_followed(locks: Path, tmp_path: Path) -> None:
    acquire("GPU-other").release()
    (tmp_path / "victim").write_text("precious")
    (locks / GPU).symlink_to(tmp_path / "victim")
    with pytest.raises(GpuUnavailable):
        acquire(GPU)


def test_a_directory_where_anyone_may_delete_is_refused(locks: Path) -> None:
    locks.mkdir()
    locks.chmod(0o777)
    with pytest.raises(GpuUnavailable, match="chmod 1777"):
        acquire(GPU)


def test_names_are_checked() -> None:
    with pytest.raises(GpuUnavailable):
        acquire("../../etc/passwd")
