"""One kernel's panel as a widget's model: the broker's words in, what to tell the widget out, not too often.

The model speaks the messages of Jupyter widgets, as anywidget's script expects them of a model (``_esm``, ``_css``). It
has no buffers, so it also works behind servers that know only the older framing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.resources import files
from typing import Any

from ... import wire
from ..models import KernelView
from ..usage import HostSample, KernelUsage
from . import WIDGET_TARGET
from .fallback import fallback
from .history import History
from .snapshot import Seen, snapshot

WIDGET_PROTOCOL = "2.1.0"
VIEW_MIME = "application/vnd.jupyter.widget-view+json"
LEAST_PAUSE_S = 0.5  # between two updates
USAGE_IS_OLD_AFTER_S = 5.0
KEEP_S = 600
MOST_PUT_OFF = 10  # outputs that wait for a front-end that can draw the panel; there may never be one

Document = dict[str, Any]


class Wish(StrEnum):
    """What a person asked for by a button; the value is the script's word for it."""

    RELEASE = "release"
    KEEP = "keep"
    INTERRUPT = "interrupt"
    ATTACH = "attach"


_DONE = {
    Wish.RELEASE: "Released.",
    Wish.KEEP: f"Kept for {KEEP_S // 60} min more.",
    Wish.INTERRUPT: "Interrupt sent.",
    Wish.ATTACH: "",
}


class Panel:
    """``now_s`` is a monotonic time in seconds, ``timestamp`` the wall clock, UTC, ISO 8601."""

    def __init__(self, model_id: str, name: str, timestamp: Callable[[], str]) -> None:
        self.model_id = model_id
        self.name = name
        self._timestamp = timestamp
        self._view: KernelView | None = None
        self._viewed_at = 0.0
        self._history = History()
        self._host: HostSample | None = None
        self._used_at = float("-inf")
        self._connected = True
        self._said = ""
        self._dirty = False
        self._told_at = float("-inf")
        self.is_drawn = False  # a front-end has said that it has the script: what is shown will be seen
        self._put_off: deque[tuple[Document, Any]] = deque(maxlen=MOST_PUT_OFF)

    # what there is to tell -----------------------------------------------------------------------------------------

    def view_changed(self, view: KernelView, now_s: float) -> None:
        self._view, self._viewed_at, self._dirty = view, now_s, True

    def usage_received(self, usage: KernelUsage, now_s: float) -> None:
        self._history.add(usage.samples)
        self._host, self._dirty = usage.host, True
        if usage.live:
            self._used_at = now_s

    def connection_changed(self, connected: bool) -> None:
        self._dirty = self._dirty or connected is not self._connected
        self._connected = connected

    def cell_over(self, now_s: float) -> None:
        """The cell that was running is: the broker says so as well, a moment later."""
        view = self._view
        if view is not None and view.busy:
            idle = view.model_copy(update={"busy": False, "release_in_s": view.idle_timeout_s + view.keep_extra_s})
            self.view_changed(idle, now_s)

    def wish_ended(self, wish: Wish, error: str) -> None:
        """What came of a button; ``error`` is empty if it was done."""
        self._said, self._dirty = error or _DONE[wish], True

    def due_in_s(self, now_s: float) -> float | None:
        """When :meth:`take_update` may be asked; None: there is nothing to tell."""
        return max(0.0, self._told_at + LEAST_PAUSE_S - now_s) if self._dirty else None

    def take_update(self, now_s: float) -> Document:
        """The data of a comm message that brings the widget up to date."""
        self._dirty, self._told_at = False, now_s
        return {"method": "update", "state": {"now": self._snapshot(now_s)}, "buffer_paths": []}

    # the widget ------------------------------------------------------------------------------------------------------

    def opening(self, now_s: float) -> tuple[Document, Document]:
        """Content and metadata of the ``comm_open`` that makes the widget."""
        data = {"state": self.state(now_s), "buffer_paths": []}
        content = {"comm_id": self.model_id, "target_name": WIDGET_TARGET, "data": data}
        return content, {"version": WIDGET_PROTOCOL}

    def state(self, now_s: float) -> Document:
        """All of the model, for a widget that is made, or made again in a page that was reloaded."""
        self._dirty, self._told_at = False, now_s
        return {
            "_model_module": "anywidget",
            "_model_name": "AnyModel",
            "_model_module_version": "*",
            "_view_module": "anywidget",
            "_view_name": "AnyView",
            "_view_module_version": "*",
            "_view_count": None,
            "_anywidget_id": "perijove.panel",
            "_esm": script(),
            "_css": styles(),
            "panel_id": self.model_id,
            "history": self._history.document(),
            "now": self._snapshot(now_s),
        }

    def whole_update(self, now_s: float) -> Document:
        """The data of a comm message with all of the state, as a front-end asks for it after a reload."""
        return {"method": "update", "state": self.state(now_s), "buffer_paths": []}

    def bundle(self, now_s: float, beside: Mapping[str, Any] | None = None) -> Document:
        """The MIME bundle of an output that shows the panel; ``beside`` is what it shows to who sees no widget."""
        mime = {"model_id": self.model_id, "version_major": 2, "version_minor": 0}
        return {**fallback(self._seen(now_s), self._timestamp()), VIEW_MIME: mime, **(beside or {})}

    def put_off(self, content: Document, parent: Any) -> None:
        """An output is shown that is to have the panel as soon as a front-end can draw it. ``content`` is that of its
        display_data, with a display id; ``parent`` is for whoever shows it."""
        self._put_off.append((content, parent))

    def drawn(self, now_s: float) -> list[tuple[Document, Any]]:
        """A front-end says that it can draw it; returns what outputs that were put off are to be updated to."""
        self.is_drawn = True
        due = [({**content, "data": self.bundle(now_s, content["data"])}, parent) for content, parent in self._put_off]
        self._put_off.clear()
        return due

    @staticmethod
    def read(data: Document) -> Wish | str | None:
        """What a front-end's message to the model wants: a :class:`Wish`, or ``"state"``; ``"here"`` says that it has
        loaded the script. None: nothing known here."""
        if data.get("method") == "request_state":
            return "state"
        content = data.get("content")
        if data.get("method") != "custom" or not isinstance(content, dict):
            return None
        if content.get("here"):
            return "here"
        try:
            return Wish(content.get("wish", ""))
        except ValueError:
            return None

    def _snapshot(self, now_s: float) -> Document:
        return snapshot(self._seen(now_s), self._timestamp())

    def _seen(self, now_s: float) -> Seen:
        fresh = now_s - self._used_at <= USAGE_IS_OLD_AFTER_S
        return Seen(
            name=self.name,
            view=self._view,
            view_age_s=now_s - self._viewed_at,
            sample=self._history.newest if fresh else None,
            host=self._host if fresh else None,
            connected=self._connected,
            said=self._said,
        )


def script() -> str:
    """The ES module that draws the panel: a single one, as widgets have it."""
    money = files(wire).joinpath("money.js").read_text(encoding="utf-8")
    return money.replace("export function", "function") + _read("panel.js")


def styles() -> str:
    return _read("panel.css")


def _read(name: str) -> str:
    return files(__name__.rpartition(".")[0]).joinpath(name).read_text(encoding="utf-8")
