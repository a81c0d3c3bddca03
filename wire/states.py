"""The states of kernels and GPUs, apart from the documents they stand in: a kernel that has just been started needs
them before there is time to import what checks documents."""

from __future__ import annotations

from enum import StrEnum


class KernelState(StrEnum):
    DETACHED = "detached"  # no process: nothing has run yet, or it was released with its state lost
    QUEUED = "queued"  # waits for a GPU
    STARTING = "starting"  # a GPU is held, the process is not bound to it yet; billed
    ATTACHED = "attached"  # runs on its GPU; billed
    SUSPENDED = "suspended"  # the process lives on without a GPU; free
    FROZEN = "frozen"  # stopped in the middle of a cell; free
    SAVED = "saved"  # the variables are on disk; free
    TERMINATED = "terminated"  # gone


class BudgetScope(StrEnum):
    """What a budget is for; each is a limit of its own, and the lowest ends a lease."""

    KERNEL = "kernel"  # what one kernel costs altogether
    USER = "user"  # all that a user ever spends
    MONTH = "month"  # what a user spends in a calendar month, UTC


class SetBy(StrEnum):
    USER = "user"  # for themselves
    ADMIN = "admin"  # holds for the user, who cannot raise it


class GpuState(StrEnum):
    FREE = "free"
    HELD = "held"  # by a kernel of this agent
    FOREIGN = "foreign"  # a process that Perijove does not know uses it, or another agent's lock is on it
    UNHEALTHY = "unhealthy"  # it has errors that only a reset or a repair ends: nothing new is put on it
    LOST = "lost"  # the driver has lost it
