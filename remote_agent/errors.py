"""What can go wrong on an agent, under the one ``PerijoveError``.

PerijoveError
├── AgentRunning         another agent works in this data directory (the command exits with status 75)
├── AgentRefused         the broker will not have this agent; trying again would not help
├── BrokerStayedAway     the broker did not come back within ``exit_without_broker_s``
├── KernelStartFailed    a kernel process did not come up
└── AttachFailed         (in wire) a process could not be bound to its GPUs
    ├── GpuUnavailable   a GPU is lost, foreign, locked by another agent, or unknown here
    └── ProcessGone      the process that should have been resumed has ended
"""

from __future__ import annotations

from ..wire.errors import AttachFailed, PerijoveError

EXIT_STATUS_RUNNING = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, but not now


class AgentRunning(PerijoveError):
    code = "agent_running"
    exit_status = EXIT_STATUS_RUNNING


class AgentRefused(PerijoveError):
    code = "agent_refused"


class BrokerStayedAway(PerijoveError):
    code = "broker_stayed_away"


class KernelStartFailed(PerijoveError):
    code = "kernel_start_failed"


class GpuUnavailable(AttachFailed):
    code = "gpu_unavailable"


class ProcessGone(AttachFailed):
    code = "process_gone"
