"""How much of each GPU was in use, second by second, for five minutes: what a page's chart begins with.

A byte a second and a ring for each device: with sixteen hundred of them half a megabyte. Agents report about once a
second, so now and then one has no report and the next has two: what was said holds for as long as figures count as
fresh, here as in what is live.
"""

from __future__ import annotations

from dataclasses import dataclass, field

KEPT_SECONDS = 300
UNKNOWN = 255
FRESH_SECONDS = 5


@dataclass(slots=True)
class _Ring:
    second: int  # that was noted last
    use: bytearray = field(default_factory=lambda: bytearray([UNKNOWN]) * KEPT_SECONDS)

    def since(self, second: int) -> int:
        """What is known of the seconds after the last that was noted, up to and with this one."""
        return self.use[self.second % KEPT_SECONDS] if second - self.second <= FRESH_SECONDS else UNKNOWN


class UseHistory:
    def __init__(self) -> None:
        self._rings: dict[tuple[str, str], _Ring] = {}

    def note(self, agent_id: str, uuid: str, percent: float | None, second: int) -> None:
        """Longer silences stay unknown; the first word on a second is not taken back."""
        ring = self._rings.get((agent_id, uuid))
        if ring is None:
            ring = self._rings[agent_id, uuid] = _Ring(second - 1)
        if second <= ring.second:
            return
        meanwhile = ring.since(second)
        for missed in range(max(ring.second + 1, second - KEPT_SECONDS + 1), second):
            ring.use[missed % KEPT_SECONDS] = meanwhile
        ring.use[second % KEPT_SECONDS] = UNKNOWN if percent is None else round(min(100.0, max(0.0, percent)))
        ring.second = second

    def of(self, agent_id: str, uuid: str, second: int) -> bytes:
        """Up to and with a second, the newest last; without the unknown ones at the beginning, so perhaps nothing."""
        ring = self._rings.get((agent_id, uuid))
        if ring is None or second - ring.second >= KEPT_SECONDS:
            return b""
        cut = (ring.second + 1) % KEPT_SECONDS
        silent = max(0, second - ring.second)
        told = bytes(ring.use[cut:] + ring.use[:cut])[silent:] + bytes([ring.since(second)]) * silent
        return told.lstrip(bytes([UNKNOWN]))

    def forget(self, second: int) -> None:
        """Drop devices of which nothing was said for as long as is kept."""
        for key in [key for key, ring in self._rings.items() if second - ring.second >= KEPT_SECONDS]:
            del self._rings[key]
