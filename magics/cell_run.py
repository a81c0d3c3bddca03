"""One ``%%gpu`` cell that is under way: what has come of it so far, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field

from .messages import Document, Message


@dataclass(slots=True)
class CellRun:
    """A cell is over at its reply *and* its ``idle``; output may come between the two."""

    message_id: str
    number: int  # the execution count, for people: "cell In [3]"
    started_at: float  # monotonic seconds
    timeout_s: float | None = None
    heard_of: bool = False  # the kernel has said something about it
    reply: Message | None = None
    idle: bool = False
    error: Document | None = None  # what ended it
    error_shown: bool = False  # its output has told of it: nothing is left to show
    display_error: Document | None = None  # what went wrong while its result was shown
    returned: Message | None = None  # perijove_result
    lost: bool = False  # the process ended before the cell did
    undelivered: bool = False
    interrupted_at: float | None = None
    timed_out: bool = False
    stopping: str = ""  # why the agent stopped it: "budget"
    abandoned: bool = False
    notices: list[str] = field(default_factory=list)
    _held_error: Message | None = None

    @property
    def done(self) -> bool:
        return self.lost or (self.reply is not None and self.idle)

    @property
    def ran_ms(self) -> int:
        """How long the cell itself ran, as the kernel measured it; 0 when it does not say."""
        return int(self.returned.content.get("ran_ms", 0)) if self.returned is not None else 0

    def take(self, message: Message) -> list[Message]:
        """Note what a message says about the cell's progress; what there is to publish now.

        An ``error`` is held back until it is clear whether it ends the cell, and is then raised here, or is output like
        any other: a formatter that failed, a traceback that the cell itself showed.
        """
        self.heard_of = True
        match message.type:
            case "status":
                self.idle = self.idle or message.content.get("execution_state") == "idle"
            case "execute_reply":
                self.reply = message
                return self._reply_taken()
            case "error":
                before, self._held_error = self.held(), message
                return before if self.reply is None else self._reply_taken()
            case "perijove_result":
                self.returned = message
            case "perijove_stopping":
                self.stopping = str(message.content.get("reason", ""))
            case "execute_input":
                pass
            case _:
                return [*self.held(), message]
        return []

    def _reply_taken(self) -> list[Message]:
        assert self.reply is not None
        content = self.reply.content
        if content.get("status") != "error":
            return self.held()
        if content.get("ename") == "NoneType":  # ipykernel's way to say that only showing the result failed
            self.display_error = content
            return self.held()
        self.error = content
        held = self._held_error
        self.error_shown = held is None or held.content.get("ename") != content.get("ename")
        if not self.error_shown:
            self._held_error = None
        return self.held()

    def held(self) -> list[Message]:
        """The error that was held back, now that it is known to be output."""
        held, self._held_error = self._held_error, None
        return [] if held is None else [held]
