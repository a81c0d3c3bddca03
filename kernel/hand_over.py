"""What a kernel leaves for the one that a front-end's restart starts in its place: which kernel at the broker it was.

Jupyter restarts a kernel by ending its process and starting another with the same connection file. So the remote
kernel, and the GPU it holds, are found again by that file's path and key. No secret is in here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path

from .settings import ConnectionInfo

GOOD_FOR_S = 30.0
_FOLDER = "restarts"


@dataclasses.dataclass(frozen=True, slots=True)
class HandOver:
    kernel_id: str
    session: str  # what the restarted process puts into its messages
    written_at: float = 0.0  # UTC seconds


def leave(directory: Path, connection: ConnectionInfo, hand_over: HandOver, now: float) -> None:
    """Raises OSError when it cannot be written; then the next kernel is a new one."""
    path = _path(directory, connection)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_stale(path.parent, now)
    temporary = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(hand_over) | {"written_at": now}, file)
    temporary.replace(path)


def take_up(directory: Path, connection: ConnectionInfo, now: float) -> HandOver | None:
    """What was left for this connection file, once; None when there is nothing, or only something old."""
    path = _path(directory, connection)
    try:
        document = json.loads(path.read_text("utf-8"))
        path.unlink()
        left = HandOver(str(document["kernel_id"]), str(document["session"]), float(document["written_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return left if abs(now - left.written_at) <= GOOD_FOR_S else None


def _path(directory: Path, connection: ConnectionInfo) -> Path:
    named = b"\0".join([os.fsencode(connection.file), connection.key])
    return directory / _FOLDER / f"{hashlib.sha256(named).hexdigest()[:32]}.json"


def _remove_stale(folder: Path, now: float) -> None:
    """Those whose kernel never came."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if abs(now - path.stat().st_mtime) > GOOD_FOR_S:
                path.unlink()
