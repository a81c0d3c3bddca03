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
    error: Document | None = None
    returned: Message | None = None  # perijove_result
    lost: bool = False  # the process ended before the cell did
    undelivered: bool = False
    interrupted_at: float | None = None
    timed_out: bool = False
    abandoned: bool = False
    notices: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.lost or (self.reply is not None and self.idle)

    @property
    def ran_ms(self) -> int:
        """How long the cell itself ran, as the kernel measured it; 0 when it does not say."""
        return int(self.returned.content.get("ran_ms", 0)) if self.returned is not None else 0

    def take(self, message: Message) -> bool:
        """Note what a message says about the cell's progress; true when it is output to publish."""
        self.heard_of = True
        match message.type:
            case "status":
                self.idle = self.idle or message.content.get("execution_state") == "idle"
            case "execute_reply":
                self.reply = message
                if message.content.get("status") == "error" and self.error is None:
                    self.error = message.content
            case "error":
                self.error = message.content
            case "perijove_result":
                self.returned = message
            case "execute_input":
                pass
            case _:
                return True
        return False
