"""A widget that is not of ipywidgets' making, in ipywidgets' own table of the notebook's widgets.

After a page reload a front-end asks the kernel's ipywidgets for the state of *all* widgets in one message, and restores
those it is told of. So who makes widgets without ipywidgets gives each an entry there that knows its state.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]


class WidgetMirror:
    """What ipywidgets needs of a widget to answer for it: these names are its protocol, not ours."""

    def __init__(self, model_id: str, state: Document) -> None:
        self.model_id = model_id
        self.state = state

    @property
    def _model_name(self) -> str:
        return str(self.state.get("_model_name", "DOMWidgetModel"))

    @property
    def _model_module(self) -> str:
        return str(self.state.get("_model_module", "@jupyter-widgets/base"))

    @property
    def _model_module_version(self) -> str:
        return str(self.state.get("_model_module_version", "2.0.0"))

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Document:
        return dict(self.state)

    def _get_embed_state(self, drop_defaults: bool = False) -> Document:
        from ipywidgets.widgets.widget import _remove_buffers  # what ipywidgets itself uses here

        state, paths, buffers = _remove_buffers(self.get_state())
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
        """``Widget.close_all()`` closes local widgets; these are somebody else's."""


def known_widgets() -> dict[str, Any]:
    """ipywidgets' own table of live widgets, by model id; may be added to."""
    from ipywidgets.widgets import widget

    _ensure_control_target()
    table: dict[str, Any] = widget._instances
    return table


def _ensure_control_target() -> None:
    """A notebook that makes no widget of its own still has to answer when a front-end asks for all states."""
    if "ipywidgets" in sys.modules:
        from ipywidgets import register_comm_target

        register_comm_target()


def _embedded(paths: Sequence[Any], buffers: Sequence[Any]) -> list[Document]:
    import base64

    return [
        {"path": path, "encoding": "base64", "data": base64.b64encode(buffer).decode("ascii")}
        for path, buffer in zip(paths, buffers, strict=True)
    ]
