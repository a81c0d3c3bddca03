"""The state of remote widgets, mirrored here, so that they survive a page reload and are saved with the notebook.

After a reload a front-end asks the kernel's ipywidgets for the state of *all* widgets in one message and restores those
it is told of. The local ipywidgets answers from its table of widgets; so each remote widget gets an entry there that
knows its state. Nothing here runs a widget's code, and the mirror answers also while the remote kernel has no GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..wire.jupyter_frames import Part
from .messages import Document, Message

WIDGET_TARGET = "jupyter.widget"


class WidgetMirror:
    """What ipywidgets needs of a widget to answer for it: these names are its protocol, not ours."""

    def __init__(self, model_id: str, state: Document) -> None:
        self.model_id = model_id
        self._state = state

    @property
    def _model_name(self) -> str:
        return str(self._state.get("_model_name", "DOMWidgetModel"))

    @property
    def _model_module(self) -> str:
        return str(self._state.get("_model_module", "@jupyter-widgets/base"))

    @property
    def _model_module_version(self) -> str:
        return str(self._state.get("_model_module_version", "2.0.0"))

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Document:
        return dict(self._state)

    def _get_embed_state(self, drop_defaults: bool = False) -> Document:
        from ipywidgets.widgets.widget import _remove_buffers  # what ipywidgets itself uses here

        state, paths, buffers = _remove_buffers(self._state)
        document: Document = {
            "model_name": self._model_name,
            "model_module": self._model_module,
            "model_module_version": self._model_module_version,
            "state": state,
        }
        if buffers:
            document["buffers"] = _embedded(paths, buffers)
        return document

    def close(self) -> None:
        """``Widget.close_all()`` closes local widgets; the remote ones are their own kernel's."""


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
        _local_widgets()[comm_id] = mirror

    def updated(self, comm_id: str, data: Document, buffers: Sequence[Part]) -> None:
        mirror = self._mirrors.get(comm_id)
        if mirror is not None and data.get("method") in ("update", "echo_update"):
            mirror._state.update(_with_buffers(data.get("state", {}), data.get("buffer_paths", []), buffers))

    def closed(self, comm_id: str) -> None:
        if self._mirrors.pop(comm_id, None) is not None:
            _local_widgets().pop(comm_id, None)


def _local_widgets() -> dict[str, Any]:
    """ipywidgets' own table of live widgets, by model id."""
    from ipywidgets.widgets import widget

    _ensure_control_target()
    table: dict[str, Any] = widget._instances
    return table


def _ensure_control_target() -> None:
    """A notebook that makes no widget of its own still has to answer when a front-end asks for all states."""
    if "ipywidgets" in sys.modules:
        from ipywidgets import register_comm_target

        register_comm_target()


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


def _embedded(paths: Sequence[Any], buffers: Sequence[Part]) -> list[Document]:
    import base64

    return [
        {"path": path, "encoding": "base64", "data": base64.b64encode(buffer).decode("ascii")}
        for path, buffer in zip(paths, buffers, strict=True)
    ]
