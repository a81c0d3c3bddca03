"""The lines in a cell's output that say what it waits for, if that takes long enough to wonder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..html_text import html_text
from ..states import KernelState
from .requests import Request
from .saying import Saying

if TYPE_CHECKING:
    from ..models import KernelView

_STYLE = "opacity: 0.65; font-size: 85%; font-variant-numeric: tabular-nums"


class WaitingLine:
    """For a GPU. A display that is updated while it stands there and cleared when the cell runs, so that neither people
    nor programs find it in the notebook afterwards."""

    def __init__(self, saying: Saying, gpu_spec: str, after_s: float) -> None:
        self._saying = saying
        self._after_s = after_s
        self.gpu_spec = gpu_spec
        self.due_at: float | None = None
        self._request: Request | None = None
        self._shown = ""

    def start(self, request: Request, now_s: float) -> None:
        """A cell waits from now on; one that waits already goes on waiting."""
        if self._request is not request:
            self.stop()
            self._request, self.due_at = request, now_s + self._after_s

    def tick(self, view: KernelView | None, now_s: float) -> None:
        if self._request is not None and self.due_at is not None and self.due_at <= now_s:
            self.due_at = None
            self._show(view, "display_data")

    def view_changed(self, view: KernelView) -> None:
        if self._shown:
            self._show(view, "update_display_data")

    def stop(self) -> None:
        """The cell runs, or has ended: what was shown goes away."""
        request, self._request, self.due_at = self._request, None, None
        if self._shown and request is not None:
            self._saying.publish("clear_output", {"wait": False}, request.frame.header)
        self._shown = ""

    def _show(self, view: KernelView | None, msg_type: str) -> None:
        assert self._request is not None
        text = waiting_text(view, self.gpu_spec)
        if text != self._shown:
            self._shown = text
            _show(self._saying, msg_type, text, self._request, "waiting")


class ContactLine:
    """For a link that is down while a cell runs: the cell goes on over there, and its output will come. The line stays,
    since output that came before it must, and in the end says how long that was."""

    def __init__(self, saying: Saying, after_s: float) -> None:
        self._saying = saying
        self._after_s = after_s
        self.due_at: float | None = None
        self._request: Request | None = None
        self._lost_at = 0.0

    def lost(self, now_s: float) -> None:
        self._lost_at = now_s
        self.due_at = now_s + self._after_s

    def tick(self, running: Request | None, now_s: float) -> None:
        """``running``: the cell that waits for the link, if there is one."""
        if self.due_at is None or self.due_at > now_s:
            return
        if running is None:
            self.due_at = now_s + self._after_s  # one may come
            return
        self.due_at, self._request = None, running
        text = "the broker is out of reach; the cell goes on over there, and what it prints will follow"
        _show(self._saying, "display_data", text, running, "contact")

    def found(self, now_s: float) -> None:
        request, self._request, self.due_at = self._request, None, None
        if request is not None:
            text = f"the broker was out of reach for {now_s - self._lost_at:.0f} s"
            _show(self._saying, "update_display_data", text, request, "contact")


def _show(saying: Saying, msg_type: str, text: str, request: Request, role: str) -> None:
    content = {
        "data": {"text/plain": text, "text/html": f'<div style="{_STYLE}">{html_text(text)}</div>'},
        "metadata": {"perijove": {"role": role}},
        "transient": {"display_id": f"perijove-{role}-{request.id}"},
    }
    saying.publish(msg_type, content, request.frame.header)


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
