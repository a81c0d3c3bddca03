"""A plain ipykernel started from nothing: from creating the process to its first reply.

Asked over raw ZeroMQ from the first moment, with sockets that retry every millisecond: jupyter_client's own
``wait_for_ready`` would add 0.2–0.5 s that are not the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ..cells import execute_request
from ..front_end import FrontEnd, plain_kernel


def start_to_kernel_info(
    directory: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    command: Callable[[str], list[str]] = plain_kernel,
) -> float:
    """Of a plain ipykernel, or of what ``command`` starts."""
    with FrontEnd(directory, environment, command) as front_end:
        front_end.ask("kernel_info_request", {})
        return front_end.alive_s


def start_to_first_cell(directory: Path) -> float:
    """To the ``execute_reply`` of ``pass``, sent without asking anything before."""
    with FrontEnd(directory, {}) as front_end:
        front_end.ask("execute_request", execute_request("pass"))
        return front_end.alive_s
