"""One GPU, one holder, on this whole host: a lock file per GPU, across users and agents (DESIGN.md §3). A MIG instance
is a GPU here, with a lock of its own: the GPU that it is a part of is leased to nobody.

The lock is a ``flock`` on a file in a directory that everyone may write to, as /tmp is. Files are only ever opened
without following links and never written to, so that nobody can be tricked through them. The lock belongs to the open
file, so the guard, which has a copy of it, holds it until the last process of a dead agent is gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import GpuUnavailable

DIRECTORY_VARIABLE = "PERIJOVE_GPU_LOCKS"  # for hosts whose containers share another directory than /tmp
_DEFAULT_DIRECTORY = Path("/tmp/perijove-gpu-locks")  # noqa: S108 - made sticky, opened without following links
_SAFE_NAME = re.compile(r"[A-Za-z0-9/-]+\Z")  # a slash: older drivers call a MIG instance MIG-GPU-…/1/0


@dataclass(frozen=True, slots=True)
class GpuLock:
    uuid: str
    fd: int

    def release(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # for all copies of the open file at once
        os.close(self.fd)


def lock_directory() -> Path:
    return Path(os.environ.get(DIRECTORY_VARIABLE) or _DEFAULT_DIRECTORY)


def acquire(uuid: str) -> GpuLock:
    """Take the GPU's lock at once.

    Raises:
        GpuUnavailable: when someone has it, or the directory is not safe to use.
    """
    if not _SAFE_NAME.match(uuid):
        raise GpuUnavailable(f"{uuid!r} is no GPU's uuid")
    directory = lock_directory()
    try:
        _prepare(directory)
        fd = _open(directory / _file_name(uuid))
    except OSError as error:
        raise GpuUnavailable(f"the lock of GPU {uuid} cannot be opened in {directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise GpuUnavailable(f"GPU {uuid} is held by another agent on this host") from None
    return GpuLock(uuid, fd)


def is_locked(uuid: str) -> bool:
    """Whether somebody holds the GPU. Asks with a shared lock, which it gives back at once."""
    if not _SAFE_NAME.match(uuid):
        return False
    try:
        fd = os.open(lock_directory() / _file_name(uuid), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _file_name(uuid: str) -> str:
    return uuid.replace("/", "_")


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir()
        directory.chmod(0o1777)  # by hand: mkdir's mode is subject to the umask
    except FileExistsError:
        pass
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise GpuUnavailable(f"{directory} is not a directory; remove it")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise GpuUnavailable(f"anyone may delete files in {directory}; run: chmod 1777 {directory}")


def _open(path: Path) -> int:
    """Open for reading, which is all that locking needs: another user may have made the file."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(2):
        try:
            return os.open(path, os.O_RDONLY | flags)
        except FileNotFoundError:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | flags, 0o644)
            except FileExistsError:
                continue
            os.fchmod(fd, 0o644)
            return fd
    raise FileNotFoundError(2, "the lock file appears and disappears")
