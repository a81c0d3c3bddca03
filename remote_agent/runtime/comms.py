"""Comms that a front-end's messages reach while a cell runs.

Since 7.4 ipykernel hands a front-end's comm message to the thread that last spoke on that comm, whatever subshell the
front-end asked for: for a widget that a cell has made that is the main thread. It is right while the main thread's loop
turns (no cell runs, or one that awaits), and useless while a plain cell blocks it: a slider moved during a training
loop would be heard after the loop. So then, and only then, the front-end's wish is followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comm
from ipykernel.comm.comm import BaseComm

if TYPE_CHECKING:
    from collections.abc import Callable


def hear_during_cells(main_is_blocked: Callable[[], bool]) -> None:
    """Have every comm made from now on follow the rule above."""

    class Comm(BaseComm):  # type: ignore[misc]  # ipykernel is not typed
        def _reply_subshell_for(self, data: Any, default: str | None) -> str | None:
            """ipykernel's question which subshell gets a message; None is the main thread. On the shell's thread."""
            chosen: str | None = super()._reply_subshell_for(data, default)
            return default if chosen is None and main_is_blocked() else chosen

    comm.create_comm = Comm
