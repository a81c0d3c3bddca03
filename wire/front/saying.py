"""What a front says itself, in the words of the Jupyter protocol, and the list that it is collected in.

A request's answer is: ``busy``, then its output, its reply, and ``idle``; all with the request as their parent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..html_text import html_text
from ..jupyter_frames import JupyterFrame, Part
from .answers import CommandAnswer
from .instructions import Instruction, Publish, ToClient
from .messages import Writer
from .requests import Request

_NOTICE_STYLE = "border-left: 3px solid #d9822b; padding-left: 0.6em"


class Saying:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._done: list[Instruction] = []

    def do(self, instruction: Instruction) -> None:
        self._done.append(instruction)

    def take(self) -> list[Instruction]:
        done, self._done = self._done, []
        return done

    # words --------------------------------------------------------------------------------------------------------

    def publish(
        self, msg_type: str, content: Mapping[str, Any], parent: Part, metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.do(Publish(self.writer.message("iopub", msg_type, content, parent, metadata), own=True))

    def status(self, state: str, parent: Part) -> None:
        self.publish("status", {"execution_state": state}, parent)

    def begin(self, request: Request) -> None:
        """``busy``, once."""
        if not request.busy_said:
            request.busy_said = True
            self.status("busy", request.frame.header)

    def reply(self, request: Request, msg_type: str, content: Mapping[str, Any]) -> None:
        if request.client is not None and not request.replied:
            request.replied = True
            frame = self.writer.message(request.frame.channel, msg_type, content, request.frame.header)
            self.do(ToClient(request.client, frame))

    def answer(self, request: Request, msg_type: str, content: Mapping[str, Any]) -> None:
        """Everything that a request without output needs."""
        self.begin(request)
        self.reply(request, msg_type, content)
        self.status("idle", request.frame.header)

    # cells --------------------------------------------------------------------------------------------------------

    def execute_input(self, request: Request, execution_count: int) -> None:
        content = {"code": request.code, "execution_count": execution_count}
        self.publish("execute_input", content, request.frame.header)

    def result(self, answer: CommandAnswer, execution_count: int, parent: Part) -> None:
        if answer.display_id:
            self.publish("display_data", answer.content, parent)
        else:
            self.publish("execute_result", {**answer.content, "execution_count": execution_count}, parent)

    def cell_ok(self, request: Request, execution_count: int) -> None:
        content = {"status": "ok", "execution_count": execution_count, "user_expressions": {}, "payload": []}
        self.answer(request, "execute_reply", content)

    def cell_failed(self, request: Request, error: BaseException, execution_count: int, name: str = "") -> None:
        """A cell's end by an error that is not of its own code: the error, the reply, and idle."""
        content = error_content(name or type(error).__name__, str(error))
        self.begin(request)
        if not request.content.get("silent", False):
            self.publish("error", content, request.frame.header)
        reply = {
            "status": "error",
            "execution_count": execution_count,
            **content,
            "user_expressions": {},
            "payload": [],
        }
        self.reply(request, "execute_reply", reply)
        self.status("idle", request.frame.header)

    def cell_aborted(self, request: Request) -> None:
        self.answer(request, "execute_reply", {"status": "aborted"})

    def notice(self, sentence: str, parent: Part) -> None:
        """Something that the user must know, such as lost variables."""
        data = {
            "text/plain": sentence,
            "text/html": f'<div style="{_NOTICE_STYLE}">{html_text(sentence)}</div>',
        }
        content = {"data": data, "metadata": {"perijove": {"role": "notice"}}, "transient": {}}
        self.publish("display_data", content, parent)

    def pass_on(self, request: Request, frame: JupyterFrame) -> None:
        """A message of the process for whoever asked."""
        if request.client is not None:
            self.do(ToClient(request.client, frame))


def error_content(name: str, text: str) -> dict[str, Any]:
    """An error as front-ends show it: a user learns from the sentence, not from frames of ours."""
    return {"ename": name, "evalue": text, "traceback": [f"\x1b[0;31m{name}\x1b[0m: {text}"]}
