"""Xids, the driver's error reports about a GPU: which are a program's own fault, and which put the device in doubt.

Numbers, meanings and what to do are NVIDIA's, in its catalogue of Xids:
https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html. Of each we only ask who is to blame. What a
program did wrong (it is told so by CUDA, too) is shown and excludes nothing; where the catalogue wants the device
reset, repaired or its host restarted, nothing new may run on it. An Xid that is not listed here is shown and excludes
nothing, as most of them are notes of the driver's; where it matters, the driver itself asks for a reset.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

_OF_PROGRAMS = {
    8: "the GPU stopped processing",
    11: "a corrupted push buffer",
    13: "an exception in a program's kernel",
    31: "a program's access to memory that is not its own",
    32: "a corrupted push buffer",
    43: "a program's work was stopped",
    45: "what was left of a program was cleaned up",
    68: "an exception in the video decoder",
    69: "an exception in a program's graphics work",
    137: "a program's access over NVLink that it may not make",
}
_OF_DEVICES = {
    48: "a memory error that could not be corrected",
    62: "its micro-controller has halted",
    63: "memory with errors waits to be taken out of use",
    64: "memory with errors could not be taken out of use",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    92: "memory errors at a high rate",
    94: "a memory error that could not be corrected, kept to one program",
    95: "a memory error that could not be corrected",
    109: "its context switch has timed out",
    110: "a security fault",
    119: "its firmware (GSP) did not answer in time",
    120: "its firmware (GSP) has failed",
    121: "an error of its link to the processor",
    136: "its link could not be set up",
    140: "a memory error that could not be corrected",
    143: "the GPU could not be initialised",
    158: "it has timed out beyond recovery",
}


@dataclass(frozen=True, slots=True)
class Xid:
    """One report: of a GPU, and of an instance of it where the driver knows which (MIG)."""

    gpu: str  # the whole GPU's uuid
    number: int
    at: datetime
    instance: int | None = None  # a MIG GPU instance's id

    @property
    def doubts_device(self) -> bool:
        return self.number in _OF_DEVICES

    def __str__(self) -> str:
        meaning = _OF_DEVICES.get(self.number) or _OF_PROGRAMS.get(self.number)
        what = f": {meaning}" if meaning else ""
        return f"Xid {self.number}{what} ({self.at.astimezone(UTC):%H:%M} UTC)"


@dataclass(slots=True)
class XidLog:
    """What was reported of one GPU since the agent began, and since the GPU was last reset."""

    _counts: dict[int | None, Counter[int]] = field(default_factory=dict)  # by instance
    _latest: dict[int | None, Xid] = field(default_factory=dict)
    _in_doubt: Xid | None = None

    def note(self, xid: Xid) -> None:
        self._counts.setdefault(xid.instance, Counter())[xid.number] += 1
        self._latest[xid.instance] = xid
        if xid.doubts_device and self._in_doubt is None:
            self._in_doubt = xid

    def was_reset(self) -> None:
        """Whatever was wrong with the GPU, it has begun anew. Counts go on."""
        self._in_doubt = None

    @property
    def illness(self) -> str:
        """Why nothing new may run on this GPU, for people: the first that put it in doubt, as later ones follow."""
        return "" if self._in_doubt is None else str(self._in_doubt)

    def counts(self, instance: int | None = None) -> dict[int, int]:
        """How often each was reported: of the whole GPU, or of one instance and those that name none."""
        return dict(sorted(sum((self._counts[key] for key in self._seen_by(instance)), Counter[int]()).items()))

    def latest(self, instance: int | None = None) -> str:
        latest = max((self._latest[key] for key in self._seen_by(instance)), key=lambda xid: xid.at, default=None)
        return "" if latest is None else str(latest)

    def _seen_by(self, instance: int | None) -> list[int | None]:
        return [key for key in self._counts if instance is None or key is None or key == instance]
