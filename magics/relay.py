"""What comes from a remote kernel, handed on to where it belongs in the notebook.

One thread relays at a time, because mixing threads would reorder output: the main thread while a cell runs, else
whichever waits for something (a subshell's thread with a widget's message), else the main loop when it is free.
"""

from __future__ import annotations

import builtins
import getpass
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..wire.commands.budget import new_warnings
from ..wire.commands.describing import describe_gpus
from ..wire.errors import PerijoveError
from ..wire.models import KernelState, KernelView
from ..wire.values.parcel import Parcel
from . import inflow as events
from .cell_run import CellRun
from .comms import CommRelay
from .kernel_link import KernelLink, fresh
from .messages import Message, make_frame, new_header, parse

if TYPE_CHECKING:
    from .notebook import Notebook
    from .variables import VariableSync

LATE_OUTPUT = {"stream", "display_data", "update_display_data", "clear_output", "error", "execute_result"}
SLICE_S = 0.05
YIELD_S = 0.001  # locks are not fair: without a pause a cell might wait long for its turn


class Relay:
    """Takes events from the link and knows where each belongs."""

    def __init__(self, notebook: Notebook, link: KernelLink, sync: VariableSync) -> None:
        self.run: CellRun | None = None  # the cell that runs over there
        self.answers: dict[str, Message] = {}
        self.failure: PerijoveError | None = None
        self.disconnected_at: float | None = None
        self.turn = threading.RLock()  # whose turn it is to relay
        self._notebook = notebook
        self._link = link
        self._sync = sync
        self._comms = CommRelay(notebook.outputs, self)
        self._view: KernelView | None = None
        self._incarnation: str | None = None
        self._news: list[str] = []
        self._told: set[str] = set()
        self._warned: set[str] = set()  # about budgets, told

    # for comms ------------------------------------------------------------------------------------------------

    def is_reachable(self) -> bool:
        """Whether a message sent now would be handled without attaching a GPU. Any thread."""
        return self._link.is_reachable()

    def send_frame(self, frame: bytes, *, control: bool = False) -> None:
        self._link.send_frame(frame, control=control)

    def interrupt(self) -> None:
        self._link.send_interrupt()

    # taking turns ---------------------------------------------------------------------------------------------

    def pump_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Relay while the condition holds, or wait for the thread that does. Any thread of the notebook."""
        deadline = time.monotonic() + timeout_s
        while condition() and time.monotonic() < deadline:
            if self.turn.acquire(timeout=SLICE_S):
                try:
                    came = self.take_one(SLICE_S)
                finally:
                    self.turn.release()
                if not came:
                    time.sleep(YIELD_S)

    def pump_idle(self) -> None:
        """Relay what came while no cell runs. On the main thread, called from the notebook's own loop."""
        if self.turn.acquire(blocking=False):
            try:
                self.drain()
            finally:
                self.turn.release()

    def drain(self) -> None:
        while self.take_one(0):
            pass

    def take_one(self, timeout_s: float) -> bool:
        """Hand on one event if one comes in time."""
        event = self._link.inflow.take(timeout_s)
        if event is not None:
            self._dispatch(event)
        return event is not None

    # news -----------------------------------------------------------------------------------------------------

    def take_news(self) -> list[str]:
        """Sentences about losses that the user has not been told yet."""
        news, self._news = self._news, []
        self._told.update(news)
        return news

    def death_sentence(self) -> str:
        """Why the process ended, as far as the broker says."""
        said = self._view.notice if self._view is not None else ""
        self._told.add(said)
        self._news.clear()
        return said or "the remote kernel ended while the cell ran"

    def forget_news(self) -> None:
        """The user has asked for what happened."""
        self.take_news()

    # events ---------------------------------------------------------------------------------------------------

    def _dispatch(self, event: events.Event) -> None:
        match event:
            case events.FrameArrived(frame, seq, size):
                try:
                    self._message(parse(frame))
                finally:
                    self._link.note_taken(seq, size)
            case events.StateChanged(view):
                self._state_changed(view)
            case events.IncarnationChanged(view):
                self._view = view
                self._process_changed(view.incarnation)
            case events.Undelivered():
                if self.run is not None:
                    self.run.undelivered = True
            case events.ConnectionChanged(connected):
                self._connection_changed(connected)
            case events.MessagesLost(count):
                self._news.append(f"{count} pieces of earlier output could not be kept and are missing")
            case events.ChannelFailed(error):
                self.failure = error

    def _state_changed(self, view: KernelView) -> None:
        self._view = view
        if view.gpus is not None:
            self._sync.place = f"on {describe_gpus(view)} ({view.gpus.agent_name})"
        if not view.notice:
            self._told.clear()
        elif view.notice not in self._told and view.notice not in self._news:
            self._news.append(view.notice)
        for warning in new_warnings(view, self._warned):
            self._warn(warning)
        if view.state is KernelState.ATTACHED:
            self._comms.resumed()

    def _warn(self, sentence: str) -> None:
        """At once while a cell runs, as there is something to save; else with the next one."""
        if self.run is not None and not self.run.abandoned:
            self._notebook.outputs.notice(sentence)
        else:
            self._news.append(sentence)

    def _process_changed(self, incarnation: str | None) -> None:
        if self._incarnation is not None:
            self._sync.forget()
            self._comms.remote_ended()
            if self.run is not None:
                self.run.lost = True
        self._incarnation = incarnation

    def _connection_changed(self, connected: bool) -> None:
        if not connected:
            self.disconnected_at = self.disconnected_at or time.monotonic()
        elif self.disconnected_at is not None:
            away_s = time.monotonic() - self.disconnected_at
            self.disconnected_at = None
            if self.run is not None:
                self.run.notices.append(f"the link to the broker was down for {away_s:.1f} s; nothing was lost")

    # messages -------------------------------------------------------------------------------------------------

    def _message(self, message: Message) -> None:
        run = self.run
        if message.channel == "stdin":
            self._stdin_message(message)
        elif message.type in ("comm_open", "comm_msg", "comm_close"):
            if run is not None:
                self._publish(run, run.held())
            self._comms.relay(message)
        elif message.type == "create_subshell_reply":
            self._comms.subshell_created(message)
        elif message.type == "perijove_exchange_reply":
            self.answers[message.parent_id] = message
        elif run is not None and message.parent_id == run.message_id:
            self._cell_message(run, message)
        elif message.type == "status":
            self._comms.status(message)
        elif message.channel == "iopub" and message.type in LATE_OUTPUT:
            self._notebook.outputs.publish_late(message)

    def _cell_message(self, run: CellRun, message: Message) -> None:
        self._publish(run, run.take(message))
        if message.type == "execute_reply":
            self._notebook.take_payloads(message.content.get("payload") or [])

    def _publish(self, run: CellRun, messages: list[Message]) -> None:
        outputs = self._notebook.outputs
        for message in messages:
            (outputs.publish_late if run.abandoned else outputs.publish)(message)

    def _stdin_message(self, message: Message) -> None:
        if message.type == "input_request":
            self._ask_user(message)
        elif message.type == "perijove_question_request":
            question = self._link.received_parcel(message)
            try:
                answer, content = self._sync.answer(question), {"status": "ok"}
            except PerijoveError as error:
                answer, content = Parcel(), {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
            reply = {**content, "manifest": answer.manifest}
            self._link.send_parcel("perijove_question_reply", message.header, reply, answer, answers=True)

    def _ask_user(self, message: Message) -> None:
        password, prompt = bool(message.content.get("password")), str(message.content.get("prompt", ""))
        if password and not prompt and self._notebook.outputs.kernel is None:
            prompt = "Password: "  # ipykernel leaves it out, as front-ends show a field; a terminal shows nothing else
        interrupts = self._link.interrupts
        try:
            with interrupts.raised():
                value = (getpass.getpass if password else builtins.input)(prompt)
        except KeyboardInterrupt:
            interrupts.count += 1
            return
        except EOFError:
            value = "\x04"  # what ipykernel takes for end of input
        header = new_header("input_reply", like=fresh(message.header))
        self.send_frame(make_frame("stdin", header, {"status": "ok", "value": value}, parent=message.header))
