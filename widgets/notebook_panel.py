"""The panel of one remote kernel in a local notebook.

What is new is published by the client's thread, as it comes, so that the panel lives on while the notebook's main
thread is in a cell, and between cells. Its buttons must work then, too: they are heard where ipykernel asks a comm
which thread is to have a message for it, which is as soon as it has come (ipykernel 7.4 and newer; with older ones they
wait for the thread). What they ask for is done on the client's loop.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..wire.errors import PerijoveError
from ..wire.front.messages import utc_timestamp
from ..wire.panel import WIDGET_TARGET
from ..wire.panel.panel import Panel, Wish
from .widget_mirror import WidgetMirror, known_widgets

if TYPE_CHECKING:
    from ..client.loop_thread import LoopThread
    from ..wire.models import KernelView
    from ..wire.usage import KernelUsage

log = logging.getLogger(__name__)

Document = dict[str, Any]
ROLE = {"perijove": {"role": "panel"}}  # in the metadata of an output that is nothing else
MOST_HEARD = 100  # presses of buttons that may come a second time


class NotebookPanel:
    """``kernel`` is the notebook's own ipykernel; ``fulfil`` does what a button asks, on the client's loop."""

    def __init__(self, kernel: Any, name: str, loop: LoopThread, fulfil: Callable[[Wish], Awaitable[None]]) -> None:
        self._kernel = kernel
        self._loop = loop
        self._fulfil = fulfil
        self._panel = Panel(uuid.uuid4().hex, name, utc_timestamp)
        self._lock = threading.Lock()  # the client's thread, the main thread and those of comms use the model
        self._is_open = False
        self._flush_planned = False
        self._was_shown = False
        self._parent: Document = {}
        self._heard: deque[str] = deque(maxlen=MOST_HEARD)
        self._shown: dict[str, Document] = {}  # headers of the requests whose output shows it, by display id

    # showing it: on the notebook's main thread -----------------------------------------------------------------------

    def open(self) -> None:
        """Make the widget, unseen: a front-end that can show it says so (``is_drawn``)."""
        with self._lock:
            self._parent = self._kernel.get_parent("shell")
            if not self._is_open:
                self._open()

    @property
    def is_drawn(self) -> bool:
        """A front-end has said that it has the panel's script: what is shown will be seen."""
        return self._panel.is_drawn

    def show(self) -> str:
        """Show it in the output of the request that runs now. Returns the display id, for :meth:`settle`."""
        self.open()
        parent = self._parent
        display_id = uuid.uuid4().hex
        with self._lock:
            bundle = self._panel.bundle(time.monotonic())
        self._was_shown = True
        self._loop.call(self._plan_flush)
        self._display(_content(bundle, display_id, ROLE))
        self._shown[display_id] = parent
        return display_id

    def show_beside(self, shown: Document, *, at_once: bool) -> None:
        """Show a MIME bundle in the output of the request that runs now, with the panel: ``at_once``, or when a
        front-end says that it can draw it."""
        self.open()
        content = _content(shown, uuid.uuid4().hex, {})
        with self._lock:
            if at_once or self.is_drawn:
                self._was_shown = True
                content["data"] = self._panel.bundle(time.monotonic(), shown)
            else:
                self._panel.put_off(content, self._parent)
            self._display(content)
        self._loop.call(self._plan_flush)

    def _drawn(self) -> None:
        with self._lock:
            for content, parent in self._panel.drawn(time.monotonic()):
                self._update(content, parent)
        self._loop.call(self._plan_flush)

    def settle(self, display_id: str) -> None:
        """The cell is over: what is saved with the notebook says how things are now."""
        parent = self._shown.pop(display_id, None)
        if parent is not None:
            with self._lock:
                self._panel.cell_over(time.monotonic())
                bundle = self._panel.bundle(time.monotonic())
            self._update(_content(bundle, display_id, ROLE), parent)

    def _open(self) -> None:
        import comm  # comes with ipykernel, and is not needed before

        stand_in: Any = comm.create_comm(target_name=WIDGET_TARGET, comm_id=self._panel.model_id, primary=False)
        stand_in.on_msg(self._front_end_said)
        stand_in._reply_subshell_for = self._overheard
        comm.get_comm_manager().register_comm(stand_in)
        known_widgets()[self._panel.model_id] = _PanelMirror(self._panel.model_id, self._state)
        content, metadata = self._panel.opening(time.monotonic())
        self._publish("comm_open", content, metadata)
        self._is_open = True

    def _state(self) -> Document:
        with self._lock:
            return self._panel.state(time.monotonic())

    # news: on the client's loop ---------------------------------------------------------------------------------------

    def view_changed(self, view: KernelView) -> None:
        with self._lock:
            self._panel.view_changed(view, time.monotonic())
        self._plan_flush()

    def usage_received(self, usage: KernelUsage) -> None:
        with self._lock:
            self._panel.usage_received(usage, time.monotonic())
        self._plan_flush()

    def connection_changed(self, connected: bool) -> None:
        with self._lock:
            self._panel.connection_changed(connected)
        self._plan_flush()

    def _plan_flush(self) -> None:
        due_s = self._panel.due_in_s(time.monotonic())
        is_seen = self.is_drawn or self._was_shown
        if due_s is not None and self._is_open and is_seen and not self._flush_planned:
            self._flush_planned = True
            self._loop.call_later(due_s, self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._flush_planned = False
            update = self._panel.take_update(time.monotonic())
        self._say(update)

    # its buttons: on any thread ---------------------------------------------------------------------------------------

    def _overheard(self, data: Any, subshell_id: str | None) -> str | None:
        """ipykernel's question which subshell a message is for; it goes where it would have gone."""
        if isinstance(data, dict):
            self._take(data)
        return subshell_id

    def _front_end_said(self, raw: Document) -> None:
        data = raw["content"].get("data", {})
        if Panel.read(data) == "state":
            with self._lock:
                update = self._panel.whole_update(time.monotonic())
            self._publish(
                "comm_msg", {"comm_id": self._panel.model_id, "data": update}, {}, parent={"header": raw["header"]}
            )
        else:
            self._take(data)

    def _take(self, data: Document) -> None:
        """Do what a button asks for, once: it is overheard first, and comes in its turn."""
        wish = Panel.read(data)
        if wish == "here":
            self._drawn()
        elif isinstance(wish, Wish):
            number = str(data["content"].get("number", ""))
            with self._lock:
                if number in self._heard:
                    return
                self._heard.append(number)
            self._loop.submit(self._carry_out(wish))

    async def _carry_out(self, wish: Wish) -> None:
        error = ""
        try:
            await self._fulfil(wish)
        except PerijoveError as problem:
            error = str(problem)
        except Exception:
            log.exception("the panel's button %s", wish)
            error = f"{wish} failed by a mistake of Perijove's; the notebook's log has it"
        with self._lock:
            self._panel.wish_ended(wish, error)
        self._plan_flush()

    # publishing -------------------------------------------------------------------------------------------------------

    def _say(self, data: Document) -> None:
        self._publish("comm_msg", {"comm_id": self._panel.model_id, "data": data}, {})

    def _publish(self, msg_type: str, content: Document, metadata: Document, parent: Document | None = None) -> None:
        self._kernel.session.send(
            self._kernel.iopub_socket,
            msg_type,
            content,
            metadata=metadata,
            parent=self._parent if parent is None else parent,
            ident=f"comm-{self._panel.model_id}".encode(),
        )

    def _display(self, content: Document) -> None:
        """On the main thread, as anything is displayed there: ``%%capture`` takes it, what was printed comes before."""
        self._kernel.shell.display_pub.publish(**content)

    def _update(self, content: Document, parent: Document) -> None:
        """On any thread."""
        self._kernel.session.send(
            self._kernel.iopub_socket,
            "update_display_data",
            content,
            parent=parent,
            ident=bytes(self._kernel._topic("update_display_data")),
        )


def _content(data: Document, display_id: str, metadata: Document) -> Document:
    return {"data": data, "metadata": metadata, "transient": {"display_id": display_id}}


class _PanelMirror(WidgetMirror):
    """Made anew whenever it is asked for: the panel's state is of this moment."""

    def __init__(self, model_id: str, make: Callable[[], Document]) -> None:
        super().__init__(
            model_id, {"_model_module": "anywidget", "_model_name": "AnyModel", "_model_module_version": "*"}
        )
        self._make = make

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Document:
        return self._make()
