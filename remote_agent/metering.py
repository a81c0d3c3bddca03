"""How long a lease has been starting, busy and idle: what the bill is made of. No clock in here.

Time is kept in nanoseconds and cut to milliseconds per phase only when reported, so that many short cells lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..wire.control import LIMIT_GRACE_MS, LeaseReport

_NS_PER_MS = 1_000_000


class Phase(StrEnum):
    STARTING = "starting"  # the GPU is held, no process is bound to it yet
    BUSY = "busy"  # a cell runs or waits
    IDLE = "idle"  # none does


@dataclass(slots=True)
class LeaseMeter:
    """Counts one lease from ``opened_ns`` (boot clock) on. A closed meter stands still."""

    lease_id: str
    opened_ns: int
    phase: Phase = Phase.STARTING
    limit_ms: int | None = None  # what a budget pays for, altogether
    ends_ns: int | None = None  # when that is used up
    _since_ns: int = field(init=False)
    _spent_ns: dict[Phase, int] = field(init=False)
    _closed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._since_ns = self.opened_ns
        self._spent_ns = dict.fromkeys(Phase, 0)

    def enter(self, phase: Phase, now_ns: int) -> None:
        """From now on time counts as ``phase``."""
        self._settle(now_ns)
        self.phase = phase

    def limit(self, limit_ms: int | None, now_ns: int) -> None:
        """Let the lease run for so long altogether. A limit that has passed already ends it now; nothing is taken back.

        Who lets go of it has a moment to do so; what takes longer is not billed.
        """
        if limit_ms != self.limit_ms:
            self._settle(now_ns)
            self.limit_ms = limit_ms
            self.ends_ns = None if limit_ms is None else max(now_ns, self.opened_ns + limit_ms * _NS_PER_MS)

    def close(self, now_ns: int) -> LeaseReport:
        """The final report; later ones repeat it."""
        self._settle(now_ns)
        self._closed = True
        return self.report(now_ns)

    def report(self, now_ns: int) -> LeaseReport:
        self._settle(now_ns)
        return LeaseReport(
            lease_id=self.lease_id,
            starting_ms=self._spent_ns[Phase.STARTING] // _NS_PER_MS,
            busy_ms=self._spent_ns[Phase.BUSY] // _NS_PER_MS,
            idle_ms=self._spent_ns[Phase.IDLE] // _NS_PER_MS,
            limit_ms=self.limit_ms,
        )

    def _settle(self, now_ns: int) -> None:
        if self.ends_ns is not None:
            now_ns = min(now_ns, self.ends_ns + LIMIT_GRACE_MS * _NS_PER_MS)
        if not self._closed and now_ns > self._since_ns:
            self._spent_ns[self.phase] += now_ns - self._since_ns
            self._since_ns = now_ns
