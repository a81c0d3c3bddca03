"""Which message goes where: every message that a front-end may send, by the Jupyter protocol.

Sources: jupyter_client's ``docs/messaging.rst``; for subshells JEP 91, for the debugger JEP 47, for ``iopub_welcome``
JEP 65; DESIGN.md §3 for what a kernel without a GPU does.
"""

from __future__ import annotations

from enum import Enum, auto


class Route(Enum):
    """What a front does with a front-end's message."""

    OWN = auto()  # answers it itself, whether or not there is a process
    CELL = auto()  # code: has a GPU attached, or is answered without one
    PROCESS = auto()  # passes it to the process; answers it itself while there is none with a GPU
    COMM = auto()  # passes it to the process; holds it while there is none with a GPU
    QUESTION = auto()  # the answer to a question of the process
    NOTHING = auto()  # nothing comes of it


ROUTES: dict[tuple[str, str], Route] = {
    ("shell", "kernel_info_request"): Route.OWN,
    ("shell", "execute_request"): Route.CELL,
    ("shell", "complete_request"): Route.PROCESS,
    ("shell", "inspect_request"): Route.PROCESS,
    ("shell", "history_request"): Route.PROCESS,
    ("shell", "is_complete_request"): Route.PROCESS,
    ("shell", "comm_info_request"): Route.PROCESS,
    ("shell", "comm_open"): Route.COMM,
    ("shell", "comm_msg"): Route.COMM,
    ("shell", "comm_close"): Route.COMM,
    ("shell", "connect_request"): Route.OWN,  # deprecated; the ports it asks for are not the process's
    ("shell", "shutdown_request"): Route.OWN,  # where it was before protocol 5.4
    ("shell", "interrupt_request"): Route.OWN,
    ("control", "kernel_info_request"): Route.OWN,
    ("control", "shutdown_request"): Route.OWN,
    ("control", "interrupt_request"): Route.OWN,
    ("control", "create_subshell_request"): Route.OWN,
    ("control", "delete_subshell_request"): Route.OWN,
    ("control", "list_subshell_request"): Route.OWN,
    ("control", "debug_request"): Route.PROCESS,
    ("control", "usage_request"): Route.PROCESS,
    ("control", "connect_request"): Route.OWN,
    ("stdin", "input_reply"): Route.QUESTION,
}


def route_of(channel: str, msg_type: str) -> Route:
    """A request that nobody has heard of is the process's to answer: it may have been taught more."""
    known = ROUTES.get((channel, msg_type))
    if known is not None:
        return known
    return Route.PROCESS if msg_type.endswith("_request") and channel in ("shell", "control") else Route.NOTHING
