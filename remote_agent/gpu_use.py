"""What a kernel's processes do with the GPU: nothing that has to be kept, or something, or something right now."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from .strays import marked_processes

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
_DEVICES = ("/dev/nvidia", "/dev/dxg")


@dataclass(slots=True)
class GpuUse:
    """``keepable``: no process of the kernel has initialised the driver. ``quiet``: none computes at the moment."""

    keepable: bool = True
    quiet: bool = True

    async def look(self, mark: str, *, quiet: bool = True) -> bool:
        """Look again at the processes with this mark; returns whether something is different now."""
        before = (self.keepable, self.quiet)
        self.quiet = quiet
        self.keepable = not await asyncio.to_thread(uses_gpu, mark)
        return before != (self.keepable, self.quiet)


def uses_gpu(mark: str) -> bool:
    """Whether a process with this mark holds a GPU's device file: the driver opens them when it is initialised.

    A mapped libcuda alone says nothing: importing a framework maps it. A process that cannot be looked at is taken
    to use the GPU.
    """
    if not any(os.path.exists(device) for device in _DRIVERS):
        return False
    return any(_holds_device(pid) for pid in marked_processes(mark))


def _holds_device(pid: int) -> bool:
    directory = Path(f"/proc/{pid}/fd")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    for name in names:
        try:
            if os.readlink(directory / name).startswith(_DEVICES):
                return True
        except OSError:
            continue  # closed meanwhile
    return False
