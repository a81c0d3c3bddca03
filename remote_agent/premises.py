"""The directories an agent works in, and what makes it the only agent there.

* the *data directory*, kept: the agent's id and its lock, spooled output, the kernels' working directories;
* the *runtime directory*: sockets and connection files, with a short path;
* the *blob directory*: large buffers, in memory where the system has a memory file system.

The last two belong to one run of the agent and go with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..wire.ids import new_id
from .errors import AgentRunning
from .strays import end_marked, remove_directories

_MEMORY_FILES = Path("/dev/shm")  # noqa: S108 - each agent makes a private directory in it
_LONGEST_RUNTIME_DIR = 60  # of about 100 characters that a Unix socket's path may have
_LEAST_ROOM_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Premises:
    agent_id: str
    mark: str  # of this run's processes
    data_dir: Path
    runtime_dir: Path
    blob_dir: Path
    lock_fd: int

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @property
    def work_dir(self) -> Path:
        """Where each kernel has the directory that its cells start in."""
        return self.data_dir / "work"

    @property
    def of_this_run(self) -> list[Path]:
        return [self.runtime_dir, self.blob_dir, self.spool_dir, self.work_dir]

    def working_directory(self, kernel_id: str) -> Path:
        """The kernel's own, made when first needed; it outlives the kernel's processes."""
        directory = self._of_kernel(kernel_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory

    def remove_working_directory(self, kernel_id: str) -> None:
        remove_directories([self._of_kernel(kernel_id)])

    def _of_kernel(self, kernel_id: str) -> Path:
        return self.work_dir / "".join(c if c.isalnum() or c in "-_" else "_" for c in kernel_id)

    def vacate(self) -> None:
        """Remove what belongs to this run, and let another agent in."""
        remove_directories(self.of_this_run)
        os.close(self.lock_fd)


def move_in(data_dir: Path) -> Premises:
    """Lock the data directory, end what an earlier run may have left, and make this run's directories.

    Raises:
        AgentRunning: when another agent works in this data directory.
    """
    data_dir = data_dir.expanduser().absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock_fd = _lock(data_dir)
    try:
        agent_id = _agent_id(data_dir)
        prefix = f"pj-{os.getuid()}-{hashlib.sha256(agent_id.encode()).hexdigest()[:8]}-"
        run = secrets.token_hex(3)
        runtime_root, blob_root = _runtime_root(), _blob_root(data_dir)
        end_marked(f"{agent_id}.")
        for root in (runtime_root, blob_root):
            remove_directories(root.glob(f"{prefix}*"))
        premises = Premises(
            agent_id=agent_id,
            mark=f"{agent_id}.{run}",
            data_dir=data_dir,
            runtime_dir=runtime_root / f"{prefix}{run}",
            blob_dir=blob_root / f"{prefix}{run}",
            lock_fd=lock_fd,
        )
        remove_directories([premises.spool_dir, premises.work_dir])
        for directory in premises.of_this_run:
            directory.mkdir(mode=0o700)
    except BaseException:
        os.close(lock_fd)
        raise
    return premises


def _lock(data_dir: Path) -> int:
    lock_fd = os.open(data_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.read(lock_fd, 20).decode(errors="replace").strip()
        os.close(lock_fd)
        who = f" (process {pid})" if pid else ""
        raise AgentRunning(
            f"an agent{who} already works in {data_dir}; stop it, or give this one another data directory"
        ) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    return lock_fd


def _agent_id(data_dir: Path) -> str:
    """The same at each start, so that the broker recognises the agent."""
    file = data_dir / "agent_id"
    with contextlib.suppress(FileNotFoundError):
        if known := file.read_text().strip():
            return known
    agent_id = new_id("agent")
    file.write_text(f"{agent_id}\n")
    return agent_id


def _runtime_root() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and len(given) <= _LONGEST_RUNTIME_DIR and os.access(given, os.W_OK | os.X_OK):
        return Path(given)
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= _LONGEST_RUNTIME_DIR else Path("/tmp")  # noqa: S108 - a 0700 directory in it


def _blob_root(data_dir: Path) -> Path:
    with contextlib.suppress(OSError):
        if os.access(_MEMORY_FILES, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY_FILES).free >= _LEAST_ROOM_BYTES:
            return _MEMORY_FILES
    return data_dir
