"""Hidden cells that front-ends run when they connect, kept for the processes that are not there yet.

They set up plotting, working directories and the like, and expect that to hold for what the user runs; so they run,
silently, in every new process before its first real cell (DESIGN.md §3).
"""

from __future__ import annotations

from .messages import Document

MOST_KEPT = 32
LONGEST_KEPT = 64 * 1024  # characters
# What shows something, perhaps later, is a question of that moment (VS Code asks for completions so), and no set-up.
_SHOWS = ("update_display", "publish_display_data", "display(")


class SetupCells:
    def __init__(self) -> None:
        self._codes: dict[str, None] = {}
        self._open = True

    def offer(self, content: Document) -> None:
        """A hidden cell that nobody has run: keep it, if it may still matter."""
        code = str(content.get("code", ""))
        if not self._open or not code.strip() or len(code) > LONGEST_KEPT or any(word in code for word in _SHOWS):
            return
        self._codes.pop(code, None)  # what is set twice holds as it was set last
        self._codes[code] = None
        if len(self._codes) > MOST_KEPT:
            del self._codes[next(iter(self._codes))]

    def close(self) -> None:
        """The first real cell has come: what is hidden after that belongs to its moment."""
        self._open = False

    def reopen(self) -> None:
        """The kernel starts over: front-ends may set it up anew."""
        self._open = True

    @property
    def contents(self) -> list[Document]:
        """What to run in a new process, in order."""
        return [
            {
                "code": code,
                "silent": True,
                "store_history": False,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": False,
            }
            for code in self._codes
        ]
