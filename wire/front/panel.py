"""The kernel's panel (``%gpu monitor``): a widget of the front's own beside those of the process, so that it lives
while there is none. Front-ends must not notice the difference, also when a reloaded page asks for all widgets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..jupyter_frames import JupyterFrame, Part
from ..panel import WIDGET_TARGET
from .answers import CommandAnswer, ShowPanel
from .instructions import Watch
from .messages import Document, document, packed
from .requests import Request
from .saying import Saying

if TYPE_CHECKING:
    from ..models import KernelView
    from ..panel.panel import Panel, Wish
    from ..usage import KernelUsage

CONTROL_TARGET = "jupyter.widget.control"


class FrontPanel:
    def __init__(self, saying: Saying, new_id: Callable[[], str], timestamp: Callable[[], str]) -> None:
        self._saying = saying
        self._new_id = new_id
        self._timestamp = timestamp
        self._panel: Panel | None = None
        self._parent: Part = b"{}"
        self._controls: set[str] = set()  # comms on which a front-end asks for all widgets' states
        self.due_at: float | None = None

    def added_to(
        self, answer: CommandAnswer, parent: Part, view: KernelView | None, now_s: float, *, later: bool
    ) -> CommandAnswer:
        """The answer with the panel, where that is wanted; ``later``: it may also be added when it is shown already."""
        if answer.panel is None:
            return answer
        panel = self._opened(parent, view, now_s)
        if answer.panel is ShowPanel.ALWAYS or panel.is_drawn:
            self._saying.do(Watch())
            return dataclasses.replace(answer, data=panel.bundle(now_s, answer.data))
        if later:
            answer = dataclasses.replace(answer, display_id=self._new_id())
            panel.put_off(answer.content, parent)
        return answer

    def _drawn(self, now_s: float) -> None:
        """A front-end says that it can draw it: nobody was told once a second before what nobody saw."""
        assert self._panel is not None
        put_off = self._panel.drawn(now_s)
        if put_off:
            self._saying.do(Watch())
        for content, parent in put_off:
            self._saying.publish("update_display_data", content, parent)

    def _opened(self, parent: Part, view: KernelView | None, now_s: float) -> Panel:
        """The first time, its widget is made, which front-ends that can draw it do."""
        self._parent = parent
        if self._panel is None:
            from ..panel.panel import Panel  # loads more than a kernel's start has time for

            self._panel = Panel(self._new_id(), "this kernel", self._timestamp)
            if view is not None:
                self._panel.view_changed(view, now_s)
            content, metadata = self._panel.opening(now_s)
            self._saying.publish("comm_open", content, parent, metadata)
        return self._panel

    # news -------------------------------------------------------------------------------------------------------------

    def view_changed(self, view: KernelView, now_s: float) -> None:
        if self._panel is not None:
            self._panel.view_changed(view, now_s)
            self._plan(now_s)

    def usage_received(self, usage: KernelUsage, now_s: float) -> None:
        if self._panel is not None:
            self._panel.usage_received(usage, now_s)
            self._plan(now_s)

    def connection_changed(self, connected: bool, now_s: float) -> None:
        if self._panel is not None:
            self._panel.connection_changed(connected)
            self._plan(now_s)

    def wish_ended(self, wish: Wish, error: str, now_s: float) -> None:
        if self._panel is not None:
            self._panel.wish_ended(wish, error)
            self._plan(now_s)

    def tick(self, now_s: float) -> None:
        if self._panel is not None and self.due_at is not None and now_s >= self.due_at:
            self.due_at = None
            self._say(self._panel.take_update(now_s), self._parent)

    def _plan(self, now_s: float) -> None:
        assert self._panel is not None
        due_in_s = self._panel.due_in_s(now_s)
        self.due_at = None if due_in_s is None else now_s + due_in_s

    def _say(self, data: Document, parent: Part) -> None:
        assert self._panel is not None
        self._saying.publish("comm_msg", {"comm_id": self._panel.model_id, "data": data}, parent)

    # front-ends -------------------------------------------------------------------------------------------------------

    def owns(self, request: Request, *, attached: bool) -> bool:
        """Whether a comm message is the panel's to answer; a front-end's question for all widgets is, where no process
        can be asked."""
        if self._panel is None:
            return False
        comm_id = request.content.get("comm_id")
        if request.type == "comm_open" and request.content.get("target_name") == CONTROL_TARGET:
            self._controls.add(str(comm_id))
        return comm_id == self._panel.model_id or (not attached and comm_id in self._controls)

    def take(self, request: Request, now_s: float) -> Wish | None:
        """What a button asks for, if it is that. The message is dealt with otherwise."""
        assert self._panel is not None
        data = request.content.get("data") or {}
        self._saying.begin(request)
        wish = None
        if request.content.get("comm_id") in self._controls:
            if data.get("method") == "request_states":
                states = {"method": "update_states", "states": {}, "buffer_paths": []}
                content = {"comm_id": request.content["comm_id"], "data": self._with_state(states, now_s)}
                self._saying.publish("comm_msg", content, request.frame.header)
        else:
            asked = self._panel.read(data)
            if asked == "state":
                self._say(self._panel.whole_update(now_s), request.frame.header)
            elif asked == "here":
                self._drawn(now_s)
            else:
                wish = asked
        if request.type == "comm_close":
            self._controls.discard(str(request.content.get("comm_id")))
        self._saying.status("idle", request.frame.header)
        return wish  # type: ignore[return-value]  # a Wish: "state" is answered above

    # what the process says of its widgets -----------------------------------------------------------------------------

    @property
    def targets(self) -> dict[str, str]:
        """Its comm's target by id, as comm_info tells them."""
        return {self._panel.model_id: WIDGET_TARGET} if self._panel is not None else {}

    def all_comms(self, request: Request, reply: JupyterFrame) -> JupyterFrame:
        """The process's comm_info with the panel's comm in it."""
        wanted = document(request.frame.content).get("target_name")
        content = document(reply.content)
        if self._panel is None or (wanted and wanted != WIDGET_TARGET) or content.get("status") != "ok":
            return reply
        comms = {**content.get("comms", {}), self._panel.model_id: {"target_name": WIDGET_TARGET}}
        return dataclasses.replace(reply, content=packed({**content, "comms": comms}))

    def all_states(self, frame: JupyterFrame, now_s: float) -> JupyterFrame:
        """The process's answer to a front-end that asked for all widgets, with the panel among them."""
        if self._panel is None or not self._controls:
            return frame
        content = document(frame.content)
        data = content.get("data") or {}
        if content.get("comm_id") not in self._controls or data.get("method") != "update_states":
            return frame
        return dataclasses.replace(frame, content=packed({**content, "data": self._with_state(data, now_s)}))

    def _with_state(self, data: Document, now_s: float) -> Document:
        assert self._panel is not None
        state = self._panel.state(now_s)
        described = {
            "model_name": state["_model_name"],
            "model_module": state["_model_module"],
            "model_module_version": state["_model_module_version"],
            "state": state,
        }
        return {**data, "states": {**data.get("states", {}), self._panel.model_id: described}}
