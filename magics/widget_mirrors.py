"""The state of a remote kernel's widgets, mirrored here, so that they survive a page reload and are saved with the
notebook.

The local ipywidgets answers for them from its table of widgets. Nothing here runs a widget's code, and the mirror
answers also while the remote kernel has no GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..widgets.widget_mirror import WidgetMirror, known_widgets
from ..wire.jupyter_frames import Part
from ..wire.panel import WIDGET_TARGET
from .messages import Document, Message


class WidgetMirrors:
    """All mirrors of one remote kernel."""

    def __init__(self) -> None:
        self._mirrors: dict[str, WidgetMirror] = {}

    def opened(self, comm_id: str, message: Message) -> None:
        if message.content.get("target_name") != WIDGET_TARGET:
            return
        data = message.content.get("data", {})
        state = _with_buffers(data.get("state", {}), data.get("buffer_paths", []), message.buffers)
        mirror = self._mirrors[comm_id] = WidgetMirror(comm_id, state)
        known_widgets()[comm_id] = mirror

    def updated(self, comm_id: str, data: Document, buffers: Sequence[Part]) -> None:
        mirror = self._mirrors.get(comm_id)
        if mirror is not None and data.get("method") in ("update", "echo_update"):
            mirror.state.update(_with_buffers(data.get("state", {}), data.get("buffer_paths", []), buffers))

    def closed(self, comm_id: str) -> None:
        if self._mirrors.pop(comm_id, None) is not None:
            known_widgets().pop(comm_id, None)


def _with_buffers(state: Document, paths: Sequence[Sequence[str | int]], buffers: Sequence[Part]) -> Document:
    """The state with its binary values put where their paths say; containers on the way are copied."""
    result = dict(state)
    for path, buffer in zip(paths, buffers, strict=False):
        container: Any = result
        for key in path[:-1]:
            inner = container[key]
            container[key] = list(inner) if isinstance(inner, list) else dict(inner)
            container = container[key]
        container[path[-1]] = bytes(buffer)
    return result
