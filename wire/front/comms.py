"""The comms of a process, as far as they matter while it has no GPU: which there are, and what waits for them.

A comm message never has a GPU attached (DESIGN.md §3): a protocol cannot tell a hand from a Play widget. What
front-ends send meanwhile is held for the next cell, one state per comm where a later one replaces an earlier one.
"""

from __future__ import annotations

import dataclasses

from ..jupyter_frames import JupyterFrame
from .messages import Document, document, packed

HELD_PER_COMM = 32


class Comms:
    def __init__(self) -> None:
        self.targets: dict[str, str] = {}  # target names by comm id
        self._held: dict[str, list[JupyterFrame]] = {}

    def seen(self, msg_type: str, content: Document) -> None:
        """A ``comm_open`` or ``comm_close`` of the process, or one of a front-end's that the process is given."""
        comm_id = str(content.get("comm_id", ""))
        if msg_type == "comm_open":
            self.targets[comm_id] = str(content.get("target_name", ""))
        elif msg_type == "comm_close":
            self.targets.pop(comm_id, None)
            self._held.pop(comm_id, None)

    def hold(self, frame: JupyterFrame, msg_type: str, content: Document) -> bool:
        """Keep a front-end's message for later. False: there is no such comm, and its opener should know."""
        comm_id = str(content.get("comm_id", ""))
        if msg_type == "comm_open" or comm_id not in self.targets:
            return False
        held = self._held.setdefault(comm_id, [])
        merged = _merged(held[-1], frame) if held else None
        if merged is not None:
            held[-1] = merged
        else:
            held.append(frame)
            del held[:-HELD_PER_COMM]
        return True

    def take_held(self) -> list[JupyterFrame]:
        """What waited, in order within each comm."""
        held, self._held = self._held, {}
        return [frame for frames in held.values() for frame in frames]

    def process_ended(self) -> None:
        self.targets.clear()
        self._held.clear()


def _merged(earlier: JupyterFrame, later: JupyterFrame) -> JupyterFrame | None:
    """Two updates of a widget's state as one; None when they cannot be."""
    if earlier.buffers or later.buffers:
        return None
    contents = [document(frame.content) for frame in (earlier, later)]
    datas = [content.get("data") for content in contents]
    states = [data.get("state") if isinstance(data, dict) else None for data in datas]
    if not all(isinstance(data, dict) and data.get("method") == "update" for data in datas):
        return None
    if not all(isinstance(state, dict) for state in states):
        return None
    content = {**contents[1], "data": {**datas[1], "state": {**states[0], **states[1]}}}  # type: ignore[dict-item]
    return dataclasses.replace(later, content=packed(content))
