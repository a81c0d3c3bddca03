"""Why a kernel's process ended, as far as it can be known honestly."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Literal

_VMSTAT = Path("/proc/vmstat")

Reason = Literal["exited", "killed", "out_of_memory"]


def out_of_memory_kills() -> int | None:
    """How many processes this machine has killed for want of memory since it started; None where it does not say."""
    try:
        for line in _VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def why_it_ended(status: int, kills_before: int | None, kills_after: int | None) -> tuple[Reason, str]:
    """Reason and a sentence. ``status`` is an exit status, or a negative signal number.

    A SIGKILL that nobody of ours sent is put down to the kernel's out-of-memory killer when its count went up
    since the last look, a few seconds before; whom it killed is not said to ordinary users.
    """
    if status >= 0:
        return "exited", f"the kernel's process exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if (
        status == -signal.SIGKILL
        and kills_before is not None
        and kills_after is not None
        and kills_after > kills_before
    ):
        return "out_of_memory", "the kernel was killed: its machine ran out of host memory"
    return "killed", f"the kernel was killed by {name}"
