"""What the two ends last agreed on about a name. Each end keeps its own list of these."""

from __future__ import annotations

from dataclasses import dataclass

from .fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class Agreement:
    """``version`` counts the changes both ends know of. ``fingerprint`` is this end's, of the whole ``group``.

    ``alone`` is the name's own: when another member was bound anew, the group's says nothing about this one any more.
    The two ends' fingerprints of one agreement differ; its version is what they compare.
    """

    version: int
    group: tuple[str, ...]
    fingerprint: Fingerprint
    alone: Fingerprint

    def holds_for(self, group: tuple[str, ...], fingerprint: Fingerprint) -> bool:
        """True when the value on this end is still the agreed one, shared with the same names."""
        return self.fingerprint == fingerprint and self.group == group
