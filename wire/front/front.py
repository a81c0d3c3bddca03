"""The front of one kernel: messages in, instructions out; no socket, thread or clock.

Sections follow the way of a message: from front-ends, from the process, and what the broker says of the kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..commands.budget import new_warnings, stopped_text
from ..errors import AttachCancelled, BudgetExhausted, KernelDied, PerijoveError
from ..jupyter_frames import JupyterFrame
from ..states import KernelState
from . import released
from .answers import CommandAnswer
from .cell_queue import CellQueue
from .comms import Comms
from .instructions import Client, Fulfil, Instruction, Interrupt, Publish, RunCommands, ShutDown, ToProcess, WakeUp
from .messages import Document, Writer, document, id_of, packed, type_of, utc_timestamp
from .numbers import CellNumbers
from .panel import FrontPanel
from .requests import Outstanding, Request, read_request
from .routes import Route, route_of
from .saying import Saying, error_content
from .setup_cells import SetupCells
from .subshells import Subshells
from .waiting import ContactLine, WaitingLine

if TYPE_CHECKING:
    from ..models import KernelView
    from ..panel.panel import Wish
    from ..usage import KernelUsage

BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """``session`` is in every header that front-ends see, whichever process or program wrote it."""

    session: str
    gpu_spec: str
    wait_shown_after_s: float = 1.0  # how long a cell waits for its GPU before its output says so
    silence_shown_after_s: float = 10.0  # how long the link is down before a running cell's output says so


class Front:
    """Every method returns what is to be done now. ``now_s`` is a monotonic time in seconds."""

    def __init__(
        self, settings: FrontSettings, new_id: Callable[[], str], timestamp: Callable[[], str] = utc_timestamp
    ) -> None:
        self._settings = settings
        self._new_id = new_id
        self._saying = Saying(Writer(settings.session, new_id, timestamp))
        self._outstanding = Outstanding()
        self._numbers = CellNumbers()
        self._waiting = WaitingLine(self._saying, settings.gpu_spec, settings.wait_shown_after_s)
        self._contact = ContactLine(self._saying, settings.silence_shown_after_s)
        self._wake_at: float | None = None
        self._queue = CellQueue(
            self._saying, self._numbers, self._outstanding, self._waiting, self._give_cell, self._new_id
        )
        self._setup = SetupCells()
        self._comms = Comms()
        self._subshells = Subshells()
        self._panel = FrontPanel(self._saying, new_id, timestamp)
        self._making: dict[str, str] = {}  # our subshells by the requests that have the process make them
        self._questions: dict[str, bytes] = {}  # headers of the process's questions, by the commands they ask for
        self._view: KernelView | None = None
        self._incarnation: str | None = None
        self._is_new = False  # the process has not been set up
        self._has_run = False  # a real cell, so that its end is a loss
        self._undelivered = False
        self._ending: str | None = None  # the process that is being replaced at somebody's wish
        self._news: list[str] = []  # what the next real cell's output begins with
        self._warned: set[str] = set()  # about budgets, told

    @property
    def execution_state(self) -> str:
        """Jupyter's word for what front-ends see: ``busy`` or ``idle``."""
        return "busy" if self._outstanding.cells or self._queue else "idle"

    @property
    def attached(self) -> bool:
        return self._queue.attached

    # front-ends ---------------------------------------------------------------------------------------------------

    def from_client(self, client: Client, frame: JupyterFrame, now_s: float) -> list[Instruction]:
        """A front-end's message on shell, control or stdin."""
        request = read_request(client, frame)
        match route_of(frame.channel, request.type):
            case Route.OWN:
                self._answer_own(request, now_s)
            case Route.CELL:
                self._take_cell(request, now_s)
            case Route.PROCESS:
                self._pass_or_answer(request)
            case Route.COMM if self._panel.owns(request, attached=self.attached):
                self._take_panels(request, now_s)
            case Route.COMM:
                self._take_comm(request)
            case Route.QUESTION if self.attached:
                self._saying.do(ToProcess(frame))
            case _:
                pass
        return self._all_done(now_s)

    def client_left(self, client: Client) -> list[Instruction]:
        """A front-end's connection is gone; its cells run on, and what answers them has nobody to go to."""
        return []

    def _answer_own(self, request: Request, now_s: float) -> None:
        match request.type:
            case "kernel_info_request":
                self._answer(request, "kernel_info_reply", released.kernel_info(self._gpu_spec))
            case "interrupt_request":
                self._interrupt(request, now_s)
            case "shutdown_request":
                self._shut_down(request)
            case "connect_request":
                self._answer(request, "connect_reply", {"status": "ok"})
            case "create_subshell_request":
                subshell_id = self._new_id()
                self._subshells.create(subshell_id)
                self._answer(request, "create_subshell_reply", {"status": "ok", "subshell_id": subshell_id})
            case "delete_subshell_request":
                self._delete_subshell(request)
            case "list_subshell_request":
                content = {"status": "ok", "subshell_id": self._subshells.ids}
                self._answer(request, "list_subshell_reply", content)

    def _answer(self, request: Request, msg_type: str, content: Document) -> None:
        """Answer something that is no cell. Front-ends take any ``idle`` as the kernel's: what runs is busy still."""
        self._saying.answer(request, msg_type, content)
        running = next((cell for cell in self._outstanding.cells if cell.busy_said), self._queue.first)
        if running is not None and running.busy_said:
            self._saying.status("busy", running.frame.header)

    @property
    def _gpu_spec(self) -> str:
        return self._view.gpu_spec if self._view is not None else self._settings.gpu_spec

    def _interrupt(self, request: Request, now_s: float) -> None:
        """Answered at once; what runs over there is told, whatever else is under way."""
        self._queue.interrupt(now_s)
        if self._undelivered and not self.attached:
            self._give_up_undelivered(AttachCancelled("stopped before the cell was run; nothing is held for it"))
        self._answer(request, "interrupt_reply", {"status": "ok"})
        if self._outstanding.cells:
            self._interrupt_process()

    def _interrupt_process(self) -> None:
        own = self._own("control", "interrupt_request", {})
        self._saying.do(Interrupt(own.frame))

    def _shut_down(self, request: Request) -> None:
        restart = bool(document(request.frame.content).get("restart", False))
        content = {"status": "ok", "restart": restart}
        self._saying.begin(request)
        self._saying.reply(request, "shutdown_reply", content)
        self._saying.publish("shutdown_reply", content, request.frame.header)
        self._saying.status("idle", request.frame.header)
        self._saying.do(ShutDown(restart))

    def _delete_subshell(self, request: Request) -> None:
        subshell_id = str(document(request.frame.content).get("subshell_id", ""))
        try:
            real = self._subshells.delete(subshell_id)
        except KeyError:
            content = {"status": "error", **error_content("KeyError", f"there is no subshell {subshell_id!r}")}
            self._answer(request, "delete_subshell_reply", content)
            return
        if real is not None and self.attached:
            own = self._own("control", "delete_subshell_request", {"subshell_id": real})
            self._saying.do(ToProcess(own.frame, control=True))
        self._answer(request, "delete_subshell_reply", {"status": "ok"})

    # cells --------------------------------------------------------------------------------------------------------

    def _take_cell(self, cell: Request, now_s: float) -> None:
        if cell.counts:
            if cell.lines is None:
                self._setup.close()
            if self.attached and self._subshells.named_in(cell.frame) is not None:
                self._give(cell)  # it is there to run beside the others
            else:
                self._queue.add(cell, now_s)
            return
        self._setup.offer(cell.content)
        if self.attached:
            self._give(cell)
        else:
            self._answer(cell, "execute_reply", released.hidden_cell(cell.content, self._numbers.last))

    def _give_cell(self, cell: Request) -> None:
        """A real cell's turn has come, and the process has its GPU."""
        self._has_run = True
        for sentence in self._news:
            self._saying.begin(cell)
            self._saying.notice(sentence, cell.frame.header)
        self._news.clear()
        if not any(other.counts for other in self._outstanding.cells):
            cell.frame = self._numbers.told(cell.frame)
        self._give(cell)

    def _give(self, request: Request) -> None:
        """Send a request to the process, to the subshell it is for."""
        self._outstanding.add(request)
        subshell_id = self._subshells.named_in(request.frame)
        frame: JupyterFrame | None = request.frame
        if subshell_id is not None:
            frame = self._subshells.addressed(request.frame, subshell_id)
            if frame is None:
                if self._subshells.must_be_made(subshell_id):
                    own = self._own("control", "create_subshell_request", {})
                    self._making[own.id] = subshell_id
                    self._saying.do(ToProcess(own.frame, control=True))
                return
        self._saying.do(ToProcess(frame or request.frame, control=request.frame.channel == "control"))

    def _own(self, channel: str, msg_type: str, content: Document) -> Request:
        """A request of the front's own: nobody sees what comes of it."""
        request = read_request(None, self._saying.writer.message(channel, msg_type, content))
        self._outstanding.add(request)
        return request

    # other requests -----------------------------------------------------------------------------------------------

    def _pass_or_answer(self, request: Request) -> None:
        if self.attached:
            self._give(request)
        else:
            self._answer_released(request)

    def _answer_released(self, request: Request) -> None:
        content = document(request.frame.content)
        comms = {**self._comms.targets, **self._panel.targets}
        answer = released.answer(request.type, content, comms) or released.no_answer(request.type)
        self._answer(request, *answer)

    def _take_comm(self, request: Request) -> None:
        if self.attached:
            self._comms.seen(request.type, request.content)
            self._give(request)
            return
        if not self._comms.hold(request.frame, request.type, request.content) and request.type != "comm_close":
            content = {"comm_id": request.content.get("comm_id", ""), "data": {}}
            self._saying.begin(request)
            self._saying.publish("comm_close", content, request.frame.header)
        self._answer(request, "", {})

    def _take_panels(self, request: Request, now_s: float) -> None:
        wish = self._panel.take(request, now_s)
        if wish == "interrupt":
            self._queue.interrupt(now_s)
            if self._outstanding.cells:
                self._interrupt_process()
            self._panel.wish_ended(wish, "", now_s)
        elif wish is not None:
            self._saying.do(Fulfil(wish))

    # the process --------------------------------------------------------------------------------------------------

    def from_process(self, frame: JupyterFrame, now_s: float) -> list[Instruction]:
        """A message of the process; carry out what is returned before telling the link that it was taken."""
        msg_type = type_of(frame.header)
        if frame.channel == "iopub":
            self._output(msg_type, frame, now_s)
        elif frame.channel == "stdin":
            self._question(msg_type, frame)
        else:
            self._reply(msg_type, frame, now_s)
        return self._all_done(now_s)

    def _output(self, msg_type: str, frame: JupyterFrame, now_s: float) -> None:
        match msg_type:
            case "status":
                self._status(frame, now_s)
                return
            case "iopub_welcome" | "shutdown_reply":  # between the process and its agent
                return
            case "perijove_stopping":
                if (request := self._outstanding.get(id_of(frame.parent_header))) is not None:
                    request.stopping = str(document(frame.content).get("reason", ""))
                return
            case "comm_open" | "comm_close":
                self._comms.seen(msg_type, document(frame.content))
            case "comm_msg":
                frame = self._panel.all_states(frame, now_s)
            case "error":
                frame = self._error_told(frame)
        if not self._outstanding.is_unseen(frame.parent_header):
            self._saying.do(Publish(frame))

    def _status(self, frame: JupyterFrame, now_s: float) -> None:
        state = document(frame.content).get("execution_state")
        request = self._outstanding.get(id_of(frame.parent_header))
        if request is None:
            if state in ("busy", "idle") and len(frame.parent_header) > 2:
                self._saying.do(Publish(frame))  # of a request that came before this front
            return
        if state == "busy":
            request.begun = True
        if request.client is not None and not (state == "busy" and request.busy_said):
            self._saying.do(Publish(frame))
        request.busy_said = True
        if state == "idle":
            request.idle = True
            self._over(request, now_s)

    def _reply(self, msg_type: str, frame: JupyterFrame, now_s: float) -> None:
        request = self._outstanding.get(id_of(frame.parent_header))
        if request is None:
            return  # whoever asked has left, with an earlier front
        if request.id in self._making:
            self._subshell_made(self._making.pop(request.id), document(frame.content))
        if request.is_cell:
            frame = self._cell_replied(request, frame)
        elif request.type == "comm_info_request":
            frame = self._panel.all_comms(request, frame)
        if not request.replied:
            request.replied = True
            self._saying.pass_on(request, frame)
        self._over(request, now_s)

    def _cell_replied(self, cell: Request, frame: JupyterFrame) -> JupyterFrame:
        content = document(frame.content)
        if cell.counts:
            self._numbers.given(content.get("execution_count"))
        if content.get("status") == "error" and cell.client is not None:
            if cell.counts and cell.stops_others:
                self._queue.abort()
            if cell.stopping:
                told = error_content(BudgetExhausted.__name__, self._stopped_text())
                return dataclasses.replace(frame, content=packed({**content, **told}))
        return frame

    def _error_told(self, frame: JupyterFrame) -> JupyterFrame:
        """The error of a cell that was stopped says why, instead of how."""
        request = self._outstanding.get(id_of(frame.parent_header))
        if request is None or not request.stopping:
            return frame
        return dataclasses.replace(frame, content=packed(error_content(BudgetExhausted.__name__, self._stopped_text())))

    def _stopped_text(self) -> str:
        return "its budget is used up, so the cell was stopped" if self._view is None else stopped_text(self._view)

    def _over(self, request: Request, now_s: float) -> None:
        if request.replied and request.idle:
            self._outstanding.remove(request)
            if request.is_cell:
                self._queue.advance(now_s)

    def _subshell_made(self, subshell_id: str, content: Document) -> None:
        real = content.get("subshell_id") if content.get("status") == "ok" else None
        for frame in self._subshells.made(subshell_id, real):
            self._saying.do(ToProcess(frame))

    def _question(self, msg_type: str, frame: JupyterFrame) -> None:
        """The process asks: for input, whoever ran the cell; for what a ``%gpu`` line says, us."""
        if msg_type == "perijove_command_request":
            token = self._new_id()
            self._questions[token] = bytes(frame.header)
            self._saying.do(RunCommands(token, (str(document(frame.content).get("line", "")),)))
            return
        request = self._outstanding.get(id_of(frame.parent_header))
        if request is not None:
            self._saying.pass_on(request, frame)

    def commands_answered(
        self, token: str, answers: Sequence[CommandAnswer], error: BaseException | None, now_s: float
    ) -> list[Instruction]:
        """What ``%gpu`` lines came to: the answers so far, and the error that ended them."""
        question = self._questions.pop(token, None)
        if answers and error is None:
            asking = self._queue.first or next(iter(self._outstanding.cells), None)
            parent = asking.frame.header if asking is not None else b"{}"
            last = self._panel.added_to(answers[-1], parent, self._view, now_s, later=question is None)
            answers = [*answers[:-1], last]
        if question is None:
            self._queue.commands_answered(token, answers, error, now_s)
        elif self.attached:
            reply = self._saying.writer.message(
                "stdin", "perijove_command_reply", _command_reply(answers, error), question
            )
            self._saying.do(ToProcess(reply))
        return self._all_done(now_s)

    # the panel ----------------------------------------------------------------------------------------------------

    def usage_received(self, usage: KernelUsage, now_s: float) -> list[Instruction]:
        """What the kernel and its GPUs do."""
        self._panel.usage_received(usage, now_s)
        return self._all_done(now_s)

    def wish_ended(self, wish: Wish, error: str, now_s: float) -> list[Instruction]:
        """What a button asked for is done (``error`` is empty), or why not."""
        self._panel.wish_ended(wish, error, now_s)
        return self._all_done(now_s)

    # the broker ---------------------------------------------------------------------------------------------------

    def view_changed(self, view: KernelView, now_s: float) -> list[Instruction]:
        """The broker's word on this kernel, whenever it changes; tells of new and ended processes as well."""
        if self._view is None and view.notice:
            self._news.append(_loss(view.notice))
        was_attached, self._view = self.attached, view
        self._waiting.gpu_spec = view.gpu_spec
        if view.state is not KernelState.ATTACHED:
            self._waiting.view_changed(view)
        if view.incarnation != self._incarnation:
            if self._incarnation is not None:
                self._process_ended(view.notice or "the remote process ended", now_s)
            self._incarnation, self._is_new = view.incarnation, view.incarnation is not None
        ready = view.state is KernelState.ATTACHED and view.incarnation not in (None, self._ending)
        self._queue.attached = ready
        if self.attached and not was_attached:
            self._process_ready()
        elif view.state is KernelState.SUSPENDED:
            self._turned_away()
        self._warn(view)
        self._panel.view_changed(view, now_s)
        self._queue.advance(now_s)
        self._ask_again(now_s)
        return self._all_done(now_s)

    def _process_ready(self) -> None:
        """It has its GPU: set it up if it is new, else let it have what waited for it."""
        self._undelivered = False
        if self._is_new:
            self._is_new = False
            for content in self._setup.contents:
                own = self._own("shell", "execute_request", content)
                self._saying.do(ToProcess(own.frame))
            return
        for frame in self._comms.take_held():
            request = read_request(HELD, frame)
            request.busy_said = True
            self._give(request)

    def _process_ended(self, sentence: str, now_s: float) -> None:
        """Answer in its place what it was given; what it had not begun is for the next one, if nothing was lost."""
        requests = self._outstanding.take_all()
        begun = any(request.is_cell and request.begun and request.client is not None for request in requests)
        stopped = any(request.stopping for request in requests)
        not_begun = []
        for request in requests:
            if request.client is None or request.client is HELD:
                continue
            if request.replied:
                self._saying.begin(request)
                self._saying.status("idle", request.frame.header)
            elif not request.is_cell:
                self._answer_released(request)
            elif request.begun:
                self._saying.cell_failed(request, self._death(request, sentence), self._numbers.take())
            elif begun:
                self._saying.cell_aborted(request)
            else:
                not_begun.append(request)
        self._queue.put_back(request for request in not_begun if request.counts)
        for request in not_begun:
            if not request.counts:
                self._answer(request, "execute_reply", released.hidden_cell(request.content, self._numbers.last))
        if begun:
            self._queue.abort()
        elif self._has_run and not stopped and not any(line.startswith("restart") for line in self._queue.commands):
            self._news.append(_loss(sentence))
        self._has_run = self._undelivered = False
        self._comms.process_ended()
        self._subshells.process_ended()
        self._numbers.process_ended()
        self._making.clear()
        self._questions.clear()

    def _death(self, cell: Request, sentence: str) -> PerijoveError:
        if cell.stopping:
            return BudgetExhausted(f"{self._stopped_text()}. The variables over there are lost")
        return KernelDied(_loss(sentence) + "; the next cell starts a new process")

    def _warn(self, view: KernelView) -> None:
        """Of a budget that is nearly used up, once: in the cell that runs, or else in the next."""
        for warning in new_warnings(view, self._warned):
            running = next((cell for cell in self._outstanding.cells if cell.counts and cell.begun), None)
            if running is not None:
                self._saying.notice(warning, running.frame.header)
            else:
                self._news.append(warning)

    def attach_answered(self, error: PerijoveError | None, now_s: float) -> list[Instruction]:
        """Attached (the view has said so before), or why not."""
        first = self._queue.first
        if self._queue.attach_answered(error, now_s):
            if error is not None and first is None:
                self._give_up_undelivered(error)
            self._ask_again(now_s)
        return self._all_done(now_s)

    def undeliverable(self, now_s: float) -> list[Instruction]:
        """What was sent crossed a release; the link keeps it and sends it again once the kernel is attached."""
        self._turned_away()
        self._ask_again(now_s)
        return self._all_done(now_s)

    def _turned_away(self) -> None:
        """A process without its GPU takes nothing, and its agent does not say of what: what it has not begun waits on
        the link. A user's cells are worth a GPU; what else is asked has a released kernel's answer."""
        self._undelivered = True
        for request in self._outstanding:
            if request.client is None or request.counts or request.replied:
                continue
            if not request.is_cell:
                self._answer_released(request)
            elif not request.begun:
                content = released.hidden_cell(request.content, self._numbers.last)
                self._saying.answer(request, "execute_reply", content)
            else:
                continue
            self._outstanding.disown(request)

    def _ask_again(self, now_s: float) -> None:
        if not self._undelivered or self.attached:
            return
        cell = next((cell for cell in self._outstanding.cells if cell.counts and not cell.begun), None)
        if cell is not None:
            self._queue.want_gpu(cell, now_s)

    def _give_up_undelivered(self, error: PerijoveError) -> None:
        """There is no GPU for cells that are on their way: they end here, and must not run when one comes."""
        self._undelivered = False
        self._waiting.stop()
        for cell in self._outstanding.cells:
            if cell.begun:
                continue  # it has ended, and what it said is on its way
            self._saying.cell_failed(cell, error, self._numbers.take())
            self._outstanding.disown(cell)
        self._interrupt_process()  # overtakes them, and names them

    def messages_lost(self, count: int, now_s: float) -> list[Instruction]:
        """So many messages of the process are gone for good."""
        sentence = f"{count} messages of the remote process were lost on the way; output may be missing here"
        running = next((cell for cell in self._outstanding.cells), None)
        if running is not None:
            self._saying.notice(sentence, running.frame.header)
        else:
            self._news.append(sentence)
        return self._all_done(now_s)

    def lost(self, error: PerijoveError, now_s: float) -> list[Instruction]:
        """The broker refuses this kernel for good; the next Attach is for a new one."""
        if self._incarnation is not None:
            self._process_ended(str(error), now_s)
        self._view, self._incarnation, self._queue.attached = None, None, False
        self._queue.advance(now_s)
        return self._all_done(now_s)

    def restarting(self, now_s: float) -> list[Instruction]:
        """The kernel is about to be restarted by somebody's wish: cells begin at 1, nothing of the old one is missed,
        and none runs until ``restarted``."""
        for cell in self._outstanding.cells:
            if not cell.replied:
                self._saying.cell_aborted(cell)
            self._outstanding.disown(cell)
        self._queue.interrupt(now_s)
        self._queue.abort()
        self._setup.reopen()
        self._ending, self._queue.stands_still, self._queue.attached = self._incarnation, True, False
        self._has_run = False
        self._news.clear()
        self._numbers.restart()
        return self._all_done(now_s)

    def restarted(self, now_s: float) -> list[Instruction]:
        """The restart is over, whatever came of it: what the broker says of the kernel holds again."""
        self._ending, self._queue.stands_still = None, False
        if self._view is not None:
            return self.view_changed(self._view, now_s)
        self._queue.advance(now_s)
        return self._all_done(now_s)

    def connection_changed(self, connected: bool, now_s: float) -> list[Instruction]:
        """The link is there, or not; what runs goes on either way."""
        if connected:
            self._contact.found(now_s)
        else:
            self._contact.lost(now_s)
        self._panel.connection_changed(connected, now_s)
        return self._all_done(now_s)

    # time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[Instruction]:
        """The time of the last WakeUp has come."""
        self._wake_at = None
        self._waiting.tick(self._view, now_s)
        self._contact.tick(next(iter(self._outstanding.cells), None), now_s)
        self._panel.tick(now_s)
        return self._all_done(now_s)

    def _all_done(self, now_s: float) -> list[Instruction]:
        """What is to be done, and when to be called next."""
        dues = [due for due in (self._waiting.due_at, self._contact.due_at, self._panel.due_at) if due is not None]
        if dues and (self._wake_at is None or min(dues) < self._wake_at):
            self._wake_at = min(dues)
            self._saying.do(WakeUp(max(0.0, self._wake_at - now_s)))
        return self._saying.take()


HELD = "perijove: a front-end that has been answered already"


def interrupting(request: JupyterFrame, shell_seq: int) -> JupyterFrame:
    """An ``interrupt_request`` that says how far the shell stream was (docs/protocol.md §2)."""
    return dataclasses.replace(request, metadata=packed({"perijove": {"shell_seq": shell_seq}}))


def _loss(sentence: str) -> str:
    sentence = sentence.rstrip(". ")
    return sentence if "variable" in sentence else f"{sentence}; its variables are lost"


def _command_reply(answers: Sequence[CommandAnswer], error: BaseException | None) -> Document:
    if error is not None:
        code = error.code if isinstance(error, PerijoveError) else ""
        return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "code": code}
    data = dict(answers[-1].data) if answers and answers[-1].data else None
    reply = {"status": "ok", "text": "".join(answer.text for answer in answers), "data": data}
    if data is not None and answers[-1].metadata:
        reply["metadata"] = dict(answers[-1].metadata)
    return reply
