"""The line in a cell's output that says what it waits for, if that takes long enough to wonder.

It is a display that is updated while it stands there and cleared when the cell runs, so that neither people nor
programs find it in the notebook afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..html_text import html_text
from ..states import KernelState
from .instructions import WakeUp
from .requests import Request
from .saying import Saying

if TYPE_CHECKING:
    from ..models import KernelView

_STYLE = "opacity: 0.65; font-size: 85%; font-variant-numeric: tabular-nums"


class WaitingLine:
    def __init__(self, saying: Saying, gpu_spec: str, after_s: float) -> None:
        self._saying = saying
        self._after_s = after_s
        self.gpu_spec = gpu_spec
        self._request: Request | None = None
        self._due_at = 0.0
        self._shown = ""

    def start(self, request: Request, now_s: float) -> None:
        """A cell waits from now on; one that waits already goes on waiting."""
        if self._request is request:
            return
        self.stop()
        self._request, self._due_at = request, now_s + self._after_s
        self._saying.do(WakeUp(self._after_s))

    def tick(self, view: KernelView | None, now_s: float) -> None:
        if self._request is None:
            return
        if now_s < self._due_at:
            self._saying.do(WakeUp(self._due_at - now_s))
        elif not self._shown:
            self._show(view, "display_data")

    def view_changed(self, view: KernelView) -> None:
        if self._shown:
            self._show(view, "update_display_data")

    def stop(self) -> None:
        """The cell runs, or has ended: what was shown goes away."""
        request, self._request = self._request, None
        if self._shown and request is not None:
            self._saying.publish("clear_output", {"wait": False}, request.frame.header)
        self._shown = ""

    def _show(self, view: KernelView | None, msg_type: str) -> None:
        assert self._request is not None
        text = waiting_text(view, self.gpu_spec)
        if text == self._shown:
            return
        self._shown = text
        content = {
            "data": {"text/plain": text, "text/html": f'<div style="{_STYLE}">{html_text(text)}</div>'},
            "metadata": {"perijove": {"role": "waiting"}},
            "transient": {"display_id": f"perijove-{self._request.id}"},
        }
        self._saying.publish(msg_type, content, self._request.frame.header)


def waiting_text(view: KernelView | None, gpu_spec: str) -> str:
    if view is None:
        return "reaching the broker…"
    if view.state is KernelState.QUEUED:
        return view.queue_reason or f"waiting for {view.gpu_spec}…"
    if view.gpus is not None and view.state is KernelState.STARTING:
        count = f"{view.gpus.count} × " if view.gpus.count > 1 else ""
        simulated = " (simulated)" if view.gpus.simulated else ""
        return f"attaching {count}{view.gpus.model}{simulated} on {view.gpus.agent_name}…"
    return f"attaching {view.gpu_spec or gpu_spec}…"
