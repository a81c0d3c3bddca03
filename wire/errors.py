"""What can go wrong, as one tree. Every error has a stable ``code`` that travels on the wire.

PerijoveError
├── BrokerError
│   ├── BrokerUnreachable      nobody answers at the broker's address
│   ├── NotAuthorized          the token is missing, unknown, or of the wrong role
│   ├── NoSuchAgent            the broker knows no such agent
│   ├── IncompatibleVersion    the two sides speak different major versions of the protocol
│   └── InsecureAddress        plain HTTP or a listening address off loopback
├── AttachError
│   ├── NoSuchGpu              no agent of this broker has what the GPU spec asks for
│   ├── InvalidGpuSpec         the GPU spec cannot be read
│   ├── AttachCancelled        the user left the queue
│   ├── AttachFailed           the agent could not bind a process to the GPU
│   ├── VariablesElsewhere     the kernel's variables are on a host that has no such GPU
│   └── BudgetExhausted        the money set aside is used up
├── KernelError
│   ├── KernelDied             the remote process ended by itself or was killed
│   ├── KernelNotFound         the broker knows no such kernel
│   ├── KernelBusy             an earlier cell still runs over there
│   ├── CellTimeout            the cell was interrupted at the time limit it was given
│   ├── KernelReleased         the kernel has no GPU at the moment and the request needs one
│   ├── StateLost              the variables over there are gone
│   └── ConnectionLost         the link did not come back in time
├── RemoteError                the user's own code failed over there
├── ValueTransferError
│   ├── CannotTravel           a value cannot be moved, with its name and the reason
│   ├── VariableConflict       a name was changed on both sides
│   └── RemoteValueError       a RemoteValue was used locally in a way that needs the value
└── UsageError                 a magic, option or command was written wrongly
"""

from __future__ import annotations

from typing import ClassVar


class PerijoveError(Exception):
    """Base of all errors of Perijove. ``str(error)`` says what happened, to what, and what to do next."""

    code: ClassVar[str] = "perijove_error"

    @property
    def message(self) -> str:
        return str(self)

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback: a user learns from the sentence, not from our frames."""
        return [f"{type(self).__name__}: {self}"]


class BrokerError(PerijoveError):
    code = "broker_error"


class BrokerUnreachable(BrokerError):
    code = "broker_unreachable"


class NotAuthorized(BrokerError):
    code = "not_authorized"


class NoSuchAgent(BrokerError):
    code = "no_such_agent"


class IncompatibleVersion(BrokerError):
    code = "incompatible_version"


class InsecureAddress(BrokerError):
    code = "insecure_address"


class AttachError(PerijoveError):
    code = "attach_error"


class NoSuchGpu(AttachError):
    code = "no_such_gpu"


class InvalidGpuSpec(AttachError, ValueError):
    code = "invalid_gpu_spec"


class AttachCancelled(AttachError):
    code = "attach_cancelled"


class AttachFailed(AttachError):
    code = "attach_failed"


class VariablesElsewhere(AttachError):
    code = "variables_elsewhere"


class BudgetExhausted(AttachError):
    code = "budget_exhausted"


class KernelError(PerijoveError):
    code = "kernel_error"


class KernelDied(KernelError):
    code = "kernel_died"


class KernelNotFound(KernelError):
    code = "kernel_not_found"


class KernelBusy(KernelError):
    code = "kernel_busy"


class CellTimeout(KernelError):
    code = "cell_timeout"


class KernelReleased(KernelError):
    code = "kernel_released"


class StateLost(KernelError):
    code = "state_lost"


class ConnectionLost(KernelError):
    code = "connection_lost"


class RemoteError(PerijoveError):
    """The user's code failed in the remote kernel; raised locally under the remote exception's name."""

    code = "remote_error"


class ValueTransferError(PerijoveError):
    code = "value_transfer_error"


class CannotTravel(ValueTransferError):
    code = "cannot_travel"


class VariableConflict(ValueTransferError):
    code = "variable_conflict"


class RemoteValueError(ValueTransferError, TypeError):
    code = "remote_value_error"


class UsageError(PerijoveError):
    code = "usage_error"


def _all_errors(root: type[PerijoveError]) -> dict[str, type[PerijoveError]]:
    found = {root.code: root} if "code" in vars(root) else {}  # one without a code of its own travels as its parent
    for child in root.__subclasses__():
        found |= _all_errors(child)
    return found


def from_code(code: str, message: str) -> PerijoveError:
    """The error that ``code`` stands for, as received from the other side; an unknown code is kept in the text."""
    error_type = _all_errors(PerijoveError).get(code)
    return PerijoveError(f"{message} [{code}]") if error_type is None else error_type(message)
