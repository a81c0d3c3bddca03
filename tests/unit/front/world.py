"""A front between front-ends, a broker and a process that are played here: every message is seen, no time passes.

The process answers a request in the steps that the test tells it to take; the broker grants a GPU when told.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from perijove.wire.errors import PerijoveError
from perijove.wire.front import instructions as do
from perijove.wire.front.answers import CommandAnswer
from perijove.wire.front.front import Front, FrontSettings
from perijove.wire.front.messages import Writer, document, id_of, packed, type_of
from perijove.wire.jupyter_frames import JupyterFrame
from perijove.wire.models import GrantedGpus, KernelState, KernelView
from perijove.wire.panel.panel import Wish

SESSION = "kernel-session"
GPUS = GrantedGpus(model="H100", count=1, simulated=True, uuids=["SIM-1"], agent_id="a", agent_name="host-a")


@dataclass(frozen=True)
class Said:
    """A message that front-ends were given; ``to`` is None for iopub."""

    to: Any
    channel: str
    type: str
    content: dict[str, Any]
    parent: str
    session: str


@dataclass
class Process:
    """A kernel process that runs what it is given when told to."""

    incarnation: str
    number: int = 0
    given: deque[JupyterFrame] = field(default_factory=deque)  # on shell, not begun
    control: list[JupyterFrame] = field(default_factory=list)
    answers: list[JupyterFrame] = field(default_factory=list)  # on stdin
    ran: list[str] = field(default_factory=list)


class World:
    def __init__(self, wait_shown_after_s: float = 1.0) -> None:
        self._numbers = itertools.count(1)
        self.front = Front(
            FrontSettings(SESSION, "H100", wait_shown_after_s), self.new_id, lambda: "2026-11-24T00:00:00Z"
        )
        self.now_s = 0.0
        self.wake_at: float | None = None
        self.said: list[Said] = []
        self.asked = 0  # for a GPU, and not answered
        self.cancelled = 0
        self.commands: dict[str, tuple[str, ...]] = {}
        self.cancelled_commands: list[str] = []
        self.interrupts: list[JupyterFrame] = []
        self.named: dict[str, set[str]] = {}  # the messages that an interrupt was sent after
        self.shut_down: bool | None = None
        self.wishes: list[Wish] = []
        self.watched = 0  # how often the broker was asked to tell what the GPU does
        self.process: Process | None = None
        self.spec = "H100"
        self.state = KernelState.DETACHED
        self.notice = ""
        self._processes = itertools.count(1)
        self._front_end = Writer("front-end", self.new_id)
        self._remote = Writer(SESSION, self.new_id)

    def new_id(self) -> str:
        return f"id-{next(self._numbers)}"

    # front-ends ---------------------------------------------------------------------------------------------------

    def ask(
        self,
        msg_type: str,
        content: dict[str, Any] | None = None,
        *,
        channel: str = "shell",
        client: str = "lab",
        subshell: str | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> str:
        frame = self._front_end.message(channel, msg_type, content or {})
        if subshell is not None:
            frame = JupyterFrame(
                channel, packed({**document(frame.header), "subshell_id": subshell}), *frame.parts[1:4]
            )
        if buffers:
            frame = JupyterFrame(channel, *frame.parts[:4], buffers)
        self.carry_out(self.front.from_client(client, frame, self.now_s))
        return id_of(frame.header)

    def run(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        stop_on_error: bool = True,
        client: str = "lab",
        subshell: str | None = None,
    ) -> str:
        content = {"code": code, "silent": silent, "store_history": store_history, "stop_on_error": stop_on_error}
        return self.ask("execute_request", content, client=client, subshell=subshell)

    def answers_to(self, request: str) -> list[Said]:
        return [said for said in self.said if said.parent == request]

    def types(self, request: str) -> list[str]:
        """The messages that answered a request, statuses by their state."""
        return [
            said.content["execution_state"] if said.type == "status" else said.type for said in self.answers_to(request)
        ]

    def content(self, request: str, msg_type: str) -> dict[str, Any]:
        (found,) = [said.content for said in self.answers_to(request) if said.type == msg_type]
        return found

    # the broker ---------------------------------------------------------------------------------------------------

    def view(self) -> KernelView:
        held = self.state in (KernelState.ATTACHED, KernelState.STARTING)
        return KernelView(
            id="k",
            name="perijove",
            state=self.state,
            gpu_spec=self.spec,
            incarnation=self.process.incarnation if self.process else None,
            gpus=GPUS if held else None,
            queue_reason="waiting for H100: 2nd in line" if self.state is KernelState.QUEUED else "",
            notice=self.notice,
        )

    def tell(self) -> None:
        self.carry_out(self.front.view_changed(self.view(), self.now_s))

    def grant(self) -> Process:
        """The kernel has its GPU: with the process it had, or with a new one."""
        if self.process is None:
            self.process = Process(f"{next(self._processes):032x}")
        self.state = KernelState.ATTACHED
        self.tell()
        self.notice = ""
        if self.asked:
            self.asked = 0
            self.carry_out(self.front.attach_answered(None, self.now_s))
        return self.process

    def refuse(self, error: PerijoveError) -> None:
        self.asked = 0
        self.carry_out(self.front.attach_answered(error, self.now_s))

    def queue(self) -> None:
        self.state = KernelState.QUEUED
        self.tell()

    def release(self) -> None:
        self.state = KernelState.SUSPENDED
        self.tell()

    def kill(self, notice: str = "") -> None:
        self.process, self.state, self.notice = None, KernelState.DETACHED, notice
        self.tell()

    def answer_commands(self, *answers: CommandAnswer, error: BaseException | None = None) -> None:
        token, _ = self.commands.popitem()
        self.carry_out(self.front.commands_answered(token, answers, error, self.now_s))

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        if self.wake_at is not None and self.wake_at <= self.now_s:
            self.wake_at = None
            self.carry_out(self.front.tick(self.now_s))

    # the process --------------------------------------------------------------------------------------------------

    def emit(self, channel: str, msg_type: str, content: dict[str, Any], parent: bytes) -> None:
        frame = self._remote.message(channel, msg_type, content, parent)
        self.carry_out(self.front.from_process(frame, self.now_s))

    def begin(self) -> JupyterFrame:
        """The process begins with the first thing it was given."""
        assert self.process is not None
        frame = self.process.given.popleft()
        self.emit("iopub", "status", {"execution_state": "busy"}, bytes(frame.header))
        content = document(frame.content)
        if type_of(frame.header) == "execute_request":
            self.process.ran.append(content["code"])
            told = document(frame.metadata).get("perijove", {}).get("execution_count")
            if told:
                self.process.number = told - 1
            if not content["silent"]:
                self.emit(
                    "iopub",
                    "execute_input",
                    {"code": content["code"], "execution_count": self.process.number + 1},
                    bytes(frame.header),
                )
        return frame

    def finish(self, frame: JupyterFrame, *, error: str = "") -> None:
        assert self.process is not None
        header, msg_type, content = bytes(frame.header), type_of(frame.header), document(frame.content)
        reply: dict[str, Any] = {"status": "ok"}
        if msg_type == "execute_request":
            if content.get("store_history", True) and not content["silent"]:
                self.process.number += 1
            reply["execution_count"] = self.process.number
            if error:
                reply |= {"status": "error", "ename": error, "evalue": "", "traceback": []}
                self.emit("iopub", "error", {"ename": error, "evalue": "", "traceback": []}, header)
        if msg_type.endswith("_request"):
            self.emit(frame.channel, msg_type.replace("_request", "_reply"), reply, header)
        self.emit("iopub", "status", {"execution_state": "idle"}, header)

    def heed_interrupts(self) -> None:
        """Cells that were sent before an interrupt and have not begun never do; the agent answers them."""
        assert self.process is not None
        while self.interrupts:
            told = self.interrupts.pop(0)
            named = self.named.pop(id_of(told.header))
            for frame in list(self.process.given):
                if type_of(frame.header) == "execute_request" and id_of(frame.header) in named:
                    self.process.given.remove(frame)
                    self._answer(frame, "shell", "execute_reply", {"status": "aborted"})
            self._answer(told, "control", "interrupt_reply", {"status": "ok"})

    def _answer(self, request: JupyterFrame, channel: str, reply: str, content: dict[str, Any]) -> None:
        header = bytes(request.header)
        self.emit("iopub", "status", {"execution_state": "busy"}, header)
        self.emit(channel, reply, content, header)
        self.emit("iopub", "status", {"execution_state": "idle"}, header)

    def work(self) -> None:
        """The process does all that it was given."""
        assert self.process is not None
        while self.process.given:
            self.finish(self.begin())
        while self.process.control:
            frame = self.process.control.pop(0)
            reply = {"status": "ok"}
            if type_of(frame.header) == "create_subshell_request":
                reply["subshell_id"] = f"real-{self.new_id()}"
            self.emit("control", type_of(frame.header).replace("_request", "_reply"), reply, bytes(frame.header))
            self.emit("iopub", "status", {"execution_state": "idle"}, bytes(frame.header))
        if self.process.given:  # what waited for its subshell
            self.work()

    # carrying out -------------------------------------------------------------------------------------------------

    def carry_out(self, instructions: list[do.Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case do.ToClient(client, frame):
                    self._note(client, frame)
                case do.Publish(frame):
                    self._note(None, frame)
                case do.ToProcess(frame, control):
                    assert self.process is not None
                    assert self.state is KernelState.ATTACHED
                    if control:
                        self.process.control.append(frame)
                    elif frame.channel == "stdin":
                        self.process.answers.append(frame)
                    else:
                        self.process.given.append(frame)
                case do.Interrupt(request):
                    self.interrupts.append(request)
                    given = self.process.given if self.process is not None else ()
                    self.named[id_of(request.header)] = {id_of(frame.header) for frame in given}
                case do.Attach():
                    assert not self.asked, "asked twice at a time"
                    self.asked += 1
                case do.CancelAttach():
                    self.asked, self.cancelled = 0, self.cancelled + 1
                case do.RunCommands(token, lines):
                    self.commands[token] = lines
                case do.CancelCommands(token):
                    self.cancelled_commands.append(token)
                case do.Watch():
                    self.watched += 1
                case do.Fulfil(wish):
                    self.wishes.append(Wish(wish))
                case do.WakeUp(after_s):
                    self.wake_at = self.now_s + after_s
                case do.ShutDown(restart):
                    self.shut_down = restart

    def _note(self, client: Any, frame: JupyterFrame) -> None:
        header = document(frame.header)
        self.said.append(
            Said(
                client,
                frame.channel,
                header["msg_type"],
                document(frame.content),
                id_of(frame.parent_header),
                header["session"],
            )
        )
