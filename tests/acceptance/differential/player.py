"""Plays a notebook in a real kernel as a front-end would, and keeps everything the kernel says."""

from __future__ import annotations

import ast
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient

from ..notebook_kernel import NotebookKernel
from .notebook import Cell, Notebook, Say

Message = dict[str, Any]
STEP_TIMEOUT_S = 60.0
END_TIMEOUT_S = 5.0
_INSPECTOR = Path(__file__).with_name("inspector.py")
_run_numbers = itertools.count()
_SETUP = """
import contextlib, importlib.util, os, sys
with contextlib.redirect_stdout(None):
    {restart}
if "inspector" not in sys.modules:
    spec = importlib.util.spec_from_file_location("inspector", {inspector!r})
    sys.modules["inspector"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["inspector"])
if "ipywidgets" in sys.modules:
    sys.modules["ipywidgets"].Widget.close_all()
if "matplotlib.pyplot" in sys.modules:
    sys.modules["matplotlib.pyplot"].close("all")
os.chdir({directory!r})
for name in ("_i00", "_i", "_ii", "_iii"):
    setattr(get_ipython().history_manager, name, "")
get_ipython().reset(new_session=True)
"""


@dataclass
class Step:
    """What one cell or widget message brought about. Late output is with the step it says it belongs to."""

    messages: list[Message] = field(default_factory=list)
    reply: Message | None = None
    prompts: list[Any] = field(default_factory=list)
    idle: bool = False


@dataclass
class Played:
    steps: list[Step]
    namespace: dict[str, Any]


class Player:
    """One kernel, used for one notebook after the other."""

    def __init__(self, kernel: NotebookKernel, directory: Path, *, with_gpu: bool) -> None:
        self._kernel = kernel
        self._client: BlockingKernelClient = kernel.client
        self._directory = directory
        self._with_gpu = with_gpu
        self._steps: dict[str, Step] = {}
        self._poller = zmq.Poller()
        for channel in (self._client.iopub_channel, self._client.shell_channel, self._client.stdin_channel):
            self._poller.register(channel.socket, zmq.POLLIN)

    def play(self, notebook: Notebook) -> Played:
        self._start_afresh(notebook)
        steps = [self._take(step) for step in notebook.steps]
        if notebook.ends_kernel:
            return Played(steps, {"ended": self._has_ended()})
        return Played(steps, self._ask("__import__('inspector').inspect_namespace(globals(), get_ipython())"))

    def _has_ended(self) -> bool:
        deadline = time.monotonic() + END_TIMEOUT_S
        while self._kernel.manager.is_alive():
            if time.monotonic() > deadline:
                return False
            self._poller.poll(20)
        return True

    def _start_afresh(self, notebook: Notebook) -> None:
        """As after "Restart Kernel", at a fraction of the cost, and at the same execution count in both kernels."""
        directory = self._directory / str(next(_run_numbers))
        directory.mkdir()
        for name, content in notebook.files.items():
            (directory / name).write_text(content)
        restart = "get_ipython().run_line_magic('gpu', 'restart')" if self._with_gpu else "pass"
        setup = _SETUP.format(restart=restart, inspector=str(_INSPECTOR), directory=str(directory))
        self._send_silently(setup)
        self._steps.clear()

    def _take(self, step: Cell | Say) -> Step:
        if isinstance(step, Say):
            return self._say(step)
        content = {
            "code": step.source(self._with_gpu),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": step.allow_stdin,
            "stop_on_error": False,
        }
        return self._request("execute_request", content, cell=step)

    def _say(self, said: Say) -> Step:
        comm_id = self._newest_comm(said.model)
        content = {"comm_id": comm_id, "data": dict(said.data)}
        return self._request("comm_msg", content, buffers=list(said.buffers))

    def _newest_comm(self, model: str) -> str:
        opened = [
            message["content"]
            for step in self._steps.values()
            for message in step.messages
            if message["msg_type"] == "comm_open"
        ]
        found = [each["comm_id"] for each in opened if each["data"].get("state", {}).get("_model_name") == model]
        return str(found[-1])

    def _request(
        self, msg_type: str, content: Message, *, cell: Cell | None = None, buffers: list[bytes] | None = None
    ) -> Step:
        message = self._client.session.msg(msg_type, content)
        step = self._steps[message["header"]["msg_id"]] = Step()
        self._client.session.send(self._client.shell_channel.socket, message, buffers=buffers)
        answers = iter(cell.answers if cell is not None else ())
        interrupt_at = cell.interrupt_at if cell is not None else ""
        has_reply = msg_type == "execute_request"
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while not step.idle or (has_reply and step.reply is None):
            if not self._poller.poll(1000) and time.monotonic() > deadline:
                raise TimeoutError(f"no end within {STEP_TIMEOUT_S:.0f} s of {content}; so far {step}")
            self._receive(step, answers)
            if interrupt_at and interrupt_at in _printed(step):
                self._kernel.interrupt()
                interrupt_at = ""
        return step

    def _receive(self, current: Step, answers: Any) -> None:
        client = self._client
        while client.iopub_channel.msg_ready():
            message = client.iopub_channel.get_msg()
            step = self._steps.get(message["parent_header"].get("msg_id", ""))
            if step is None:
                continue
            if message["msg_type"] != "status":
                step.messages.append(message)
            elif message["content"]["execution_state"] == "idle":
                step.idle = True
        while client.shell_channel.msg_ready():
            reply = client.shell_channel.get_msg()
            if reply["parent_header"].get("msg_id", "") in self._steps:
                self._steps[reply["parent_header"]["msg_id"]].reply = reply
        while client.stdin_channel.msg_ready():
            request = client.stdin_channel.get_msg()
            current.prompts.append(request["content"])
            client.input(next(answers))

    def _send_silently(self, code: str, expressions: dict[str, str] | None = None) -> Message:
        content = {
            "code": code,
            "silent": True,
            "store_history": False,
            "user_expressions": expressions or {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        step = self._request("execute_request", content)
        assert step.reply is not None
        reply: Message = step.reply["content"]
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [reply["status"]]))
        return reply

    def _ask(self, expression: str) -> dict[str, Any]:
        """The value of an expression that gives a JSON text."""
        answer = self._send_silently("", {"answer": expression})["user_expressions"]["answer"]
        assert answer["status"] == "ok", "\n".join(answer.get("traceback", []))
        document: dict[str, Any] = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
        return document


def _printed(step: Step) -> str:
    return "".join(m["content"]["text"] for m in step.messages if m["msg_type"] == "stream")
