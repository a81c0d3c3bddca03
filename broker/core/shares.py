"""Who has had how much lately: GPU-seconds per user that fade with time. They order the queue; they are not money."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .clock import BootMs
from .schedule import HELD_GPU_WEIGHT_S

FORGOTTEN_BELOW_S = 0.01


@dataclass(slots=True)
class Shares:
    half_life_ms: int = 3_600_000
    _used: dict[str, tuple[float, BootMs]] = field(default_factory=dict)
    _held: Counter[str] = field(default_factory=Counter)

    def used(self, user: str, gpu_ms: int, now: BootMs) -> None:
        if gpu_ms > 0:
            self._used[user] = (self._faded(user, now) + gpu_ms / 1000, now)

    def held(self, user: str, gpus: int) -> None:
        self._held[user] += gpus
        if not self._held[user]:
            del self._held[user]

    def at(self, now: BootMs) -> dict[str, float]:
        """Every known user's share; forgets those that have faded to nothing."""
        for user in [user for user in self._used if self._faded(user, now) < FORGOTTEN_BELOW_S]:
            del self._used[user]
        users = self._used.keys() | self._held.keys()
        return {user: self._faded(user, now) + HELD_GPU_WEIGHT_S * self._held[user] for user in users}

    def _faded(self, user: str, now: BootMs) -> float:
        value, since = self._used.get(user, (0.0, now))
        return value * float(0.5 ** ((now - since) / self.half_life_ms))
