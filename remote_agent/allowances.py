"""How long each lease may run on without another word from the broker, and how long altogether. Pure: the boot clock is
passed in.

The allowance of a renewal counts from when the Renew was *sent*, so that a slow answer never stretches it
(DESIGN.md §3): whatever the broker set aside for it, it set aside after that moment. A limit is a moment, too: when
what is left of a budget is used up (docs/billing.md).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Asked:
    sent_ns: int
    leases: frozenset[str]


@dataclass(slots=True)
class Allowances:
    _until_ns: dict[str, int] = field(default_factory=dict)
    _ends_ns: dict[str, int] = field(default_factory=dict)
    _asked: deque[_Asked] = field(default_factory=deque)

    def grant(self, lease_id: str, allowance_s: float, now_ns: int) -> None:
        """A new lease, with the allowance its Bind came with."""
        self._until_ns[lease_id] = now_ns + int(allowance_s * _NS_PER_S)

    def limit(self, lease_id: str, ends_ns: int | None) -> None:
        """The lease ends at this moment, whatever its allowance; None: there is no such moment."""
        if ends_ns is None:
            self._ends_ns.pop(lease_id, None)
        else:
            self._ends_ns[lease_id] = ends_ns

    def forget(self, lease_id: str) -> None:
        self._until_ns.pop(lease_id, None)
        self._ends_ns.pop(lease_id, None)

    def renewal_sent(self, leases: frozenset[str], now_ns: int) -> None:
        self._asked.append(_Asked(now_ns, leases))

    def renewed(self, allowances_s: dict[str, float]) -> set[str]:
        """The answer to the oldest open Renew; returns the leases that were asked for and are unknown to the broker."""
        if not self._asked:
            return set()
        asked = self._asked.popleft()
        for lease_id in asked.leases & allowances_s.keys() & self._until_ns.keys():
            self._until_ns[lease_id] = asked.sent_ns + int(allowances_s[lease_id] * _NS_PER_S)
        return {lease for lease in asked.leases - allowances_s.keys() if lease in self._until_ns}

    def connection_lost(self) -> None:
        """Renewals under way will never be answered."""
        self._asked.clear()

    def used_up(self, now_ns: int) -> list[str]:
        return [lease_id for lease_id, until_ns in self._until_ns.items() if now_ns >= until_ns]

    def take_ended(self, now_ns: int) -> list[str]:
        """The leases whose limit has been reached; each is named once."""
        ended = [lease_id for lease_id, ends_ns in self._ends_ns.items() if now_ns >= ends_ns]
        for lease_id in ended:
            del self._ends_ns[lease_id]
        return ended

    def next_end_s(self, now_ns: int) -> float | None:
        """Seconds until the first allowance is used up or the first limit reached; None when there is no lease."""
        ends = [*self._until_ns.values(), *self._ends_ns.values()]
        return max(0, min(ends) - now_ns) / _NS_PER_S if ends else None
