"""What a trace of an attach says after the bind: how long the first cell ran, which is what it was all for."""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.tracing import NOT_TRACED, Span


@dataclass(slots=True)
class BindTrace:
    """One lease's. ``bind``: the span that the first cell goes below."""

    bind: Span
    _cell: Span = NOT_TRACED

    def activity(self, *, busy: bool) -> None:
        """The kernel became busy or idle."""
        if busy and self.bind is not NOT_TRACED:
            self._cell = self.bind.child("first cell")
            self.bind = NOT_TRACED
        elif not busy:
            self.over()

    def over(self) -> None:
        """The first cell has ended, or the lease."""
        self._cell.end()
        self._cell = NOT_TRACED
