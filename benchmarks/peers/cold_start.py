"""A plain ipykernel started from nothing: from creating the process to its first reply.

Asked over raw ZeroMQ from the first moment, with sockets that retry every millisecond: jupyter_client's own
``wait_for_ready`` would add 0.2–0.5 s that are not the kernel's.
"""

from __future__ import annotations

from pathlib import Path

from ..front_end import FrontEnd


def start_to_kernel_info(directory: Path) -> float:
    with FrontEnd(directory, {}) as front_end:
        front_end.ask("kernel_info_request", {})
        return front_end.alive_s


def start_to_first_cell(directory: Path) -> float:
    """To the ``execute_reply`` of ``pass``, sent without asking anything before."""
    with FrontEnd(directory, {}) as front_end:
        content = {"code": "pass", "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        front_end.ask("execute_request", content)
        return front_end.alive_s
