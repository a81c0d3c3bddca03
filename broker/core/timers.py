"""Deadlines by name: set, moved and cleared in logarithmic time, so that a tick looks only at what is due."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from .clock import BootMs


@dataclass(slots=True)
class Timers:
    _at: dict[str, BootMs] = field(default_factory=dict)
    _heap: list[tuple[BootMs, str]] = field(default_factory=list)

    def set(self, name: str, at: BootMs | None) -> None:
        """Have ``name`` due at a moment, instead of what was set before; None clears it."""
        if at is None:
            self._at.pop(name, None)
        elif self._at.get(name) != at:
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def take_due(self, now: BootMs) -> list[str]:
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                due.append(name)
        return due

    def next(self) -> BootMs | None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
