"""A kernel process ends when its agent does: nothing may hold a GPU that nobody answers for."""

from __future__ import annotations

import os
import signal
import sys

from .environment import AGENT_PID, START_NICE

_PR_SET_PDEATHSIG = 1


def hold_on_to_agent() -> None:
    """Have the operating system kill this process when the agent dies, and start at low priority if told to."""
    agent_pid = int(os.environ.pop(AGENT_PID, "0"))
    if agent_pid and sys.platform == "linux":
        import ctypes  # only here: other systems poll for their parent instead

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != agent_pid:  # it died before it could be watched
            os._exit(1)
    os.nice(int(os.environ.pop(START_NICE, "0")))
