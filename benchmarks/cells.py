"""A cell as a front-end sees it: sent, timed to its reply and its idle, and all that it shows counted.

The same for every front-end, whatever carries its messages, so that a plain cell and one on a GPU are looked at by the
same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

WITHIN_S = 120.0
QUIET_S = 10.0  # after a reply: then what is missing was dropped on the way
Message = dict[str, Any]
Send = Callable[[str, Message], str]
"""Sends a request on shell, by its type and content; returns its id."""
Receive = Callable[[float], Iterable[Message]]
"""Messages that have come, from any channel; none when none came for so many seconds."""


class CellFailed(Exception):
    """A cell that should have worked raised; with its traceback's last line."""


@dataclass(slots=True)
class Execution:
    """Durations are from sending the request, in seconds; 0.0 is for what has not come."""

    reply_s: float = 0.0
    idle_s: float = 0.0
    last_s: float = 0.0  # any message of the cell
    text: str = ""
    streams: int = 0  # messages
    displays: int = 0
    error: str = ""
    status_lines: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """A cell is done at its reply *and* its idle."""
        return bool(self.reply_s and self.idle_s)

    @property
    def done_s(self) -> float:
        """To the later of the two; where the idle was lost, to the last thing heard."""
        return max(self.reply_s, self.idle_s) if self.is_done else self.last_s

    def take(self, message: Message, at_s: float) -> None:
        """A message that answers the cell's request."""
        content = message["content"]
        self.last_s = at_s
        match message["header"]["msg_type"]:
            case "execute_reply":
                self.reply_s = at_s
                if content["status"] != "ok":
                    self.error = self.error or f"{content.get('ename')}: {content.get('evalue')}"
            case "status" if content["execution_state"] == "idle":
                self.idle_s = at_s
            case "stream":
                self.streams += 1
                self.text += content["text"]
            case "display_data" if content["metadata"].get("perijove", {}).get("role") == "status":
                self.status_lines.append(content["data"]["text/plain"])
            case "display_data":
                self.displays += 1
            case "error":
                self.error = f"{content['ename']}: {content['evalue']}"


class RunsCells(Protocol):
    """Any front-end, with its kernel."""

    def execute(
        self, code: str, *, history: bool = True, within_s: float = WITHIN_S, may_lose: bool = False
    ) -> Execution: ...

    def stay_connected(self) -> None:
        """To be called now and then while others are measured."""


def run_cell(
    send: Send,
    receive: Receive,
    code: str,
    *,
    history: bool = True,
    within_s: float = WITHIN_S,
    may_lose: bool = False,
) -> Execution:
    """Run a cell and wait for its reply and its idle; ``may_lose``: do without what is dropped on the way.

    Raises:
        CellFailed: when it raised.
        TimeoutError: when it was not done in time.
    """
    seen = Execution()
    started = time.perf_counter()
    message_id = send("execute_request", execute_request(code, history=history))
    deadline = started + within_s
    while not seen.is_done:
        left = deadline - time.perf_counter()
        heard = False
        for message in receive(min(left, QUIET_S) if may_lose else left) if left > 0 else ():
            heard = True
            if message["parent_header"].get("msg_id") == message_id:
                seen.take(message, time.perf_counter() - started)
        if not heard and may_lose and seen.reply_s:
            break
        if not heard and time.perf_counter() >= deadline:
            raise TimeoutError(f"a cell was not done within {within_s:.0f} s: {code[:60]!r}")
    if seen.error:
        raise CellFailed(f"{code[:60]!r}: {seen.error}")
    return seen


def execute_request(code: str, *, history: bool = True) -> Message:
    """The content that front-ends send for a cell."""
    return {
        "code": code,
        "silent": False,
        "store_history": history,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }
