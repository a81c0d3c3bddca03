"""Kernels as watchers are told them: one line each, made once a second for all who may see it.

An admin's page shows every kernel, and every admin's shows the same ones.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from ...wire.models import KernelState
from ..api.documents import kernel_line
from ..core.clock import Now
from ..core.records import Kernel

if TYPE_CHECKING:
    from ..broker import Broker

_SECONDS_PER_HOUR = 3600


class KernelBoard:
    """``mine`` for one user, or for all: kernels, the queue, and what they cost in an hour."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lines: dict[str, str] = {}  # of the second at hand
        self._of_user: dict[str, list[Kernel]] = {}
        self._second = -1

    def mine(self, whose: str | None, second: int) -> str:
        """``second`` names the second that is told; lines are made anew when it is another one. ``whose``: None is
        everybody."""
        now = self._broker.now()
        if second != self._second:
            self._second = second
            self._lines.clear()
            self._of_user = defaultdict(list)
            for kernel in self._broker.fleet.living_kernels():
                self._of_user[kernel.user].append(kernel)
        if whose is None:
            kernels = [kernel for kernels in self._of_user.values() for kernel in kernels]
        else:
            kernels = self._of_user.get(whose, [])
        lines = ",".join(self._line(kernel, now) for kernel in kernels)
        return f'{{"rate":{_dumps(_hourly(kernels))},"kernels":[{lines}],"queue":{_dumps(_queue(kernels, now))}}}'

    def clear(self) -> None:
        """Nobody watches."""
        self._second = -1
        self._lines.clear()
        self._of_user.clear()

    def _line(self, kernel: Kernel, now: Now) -> str:
        line = self._lines.get(kernel.id)
        if line is None:
            usage = self._broker.usage.latest(kernel.id, now)
            line = self._lines[kernel.id] = _dumps(kernel_line(self._broker, kernel) | {"usage": usage})
        return line


def _hourly(kernels: list[Kernel]) -> dict[str, int]:
    rate = {"real": 0, "simulated": 0}
    for kernel in kernels:
        if kernel.lease is not None:
            record = kernel.lease.record
            hourly = record.nanodollars_per_ms * 1000 * _SECONDS_PER_HOUR
            rate["simulated" if record.simulated else "real"] += hourly
    return rate


def _queue(kernels: list[Kernel], now: Now) -> list[dict[str, object]]:
    waiting = sorted((k for k in kernels if k.state is KernelState.QUEUED), key=lambda k: k.asked_at)
    return [
        {"kernel": k.id, "user": k.user, "reason": k.queue_reason, "waiting_s": (now.boot - k.asked_at) // 1000}
        for k in waiting
    ]


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
