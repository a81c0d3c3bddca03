"""Who has the newest value of each name: the notebook's side of the bookkeeping, as a pure state machine.

For each name there is at most one ``Agreement`` with the kernel: a version number that both ends count, and this end's
fingerprint of the value they agreed on. From that follows everything:

- a value whose fingerprint is still the agreed one need not travel; any other is *offered* as the next version;
- an offer counts only once the kernel's answer to that cell is here (``settle``): after a lost cell it is made again;
- a value that returns is applied if the local one is still the agreed (or offered) one, or else it is a conflict;
- a value that returns on an older version than the agreed one missed a local change, and is a conflict too.

No value, clock or socket is in here: hypothesis plays two interpreters against it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...wire.values.agreement import Agreement
from ...wire.values.fingerprint import Fingerprint

Group = tuple[str, ...]


class Verdict(enum.Enum):
    """What to do with a value that came back."""

    APPLY = "apply"  # the kernel's value is the newest
    CONFLICT = "conflict"  # both sides changed it


@dataclass(slots=True)
class Coherence:
    """One per kernel. ``agreed`` is what both ends know; ``offered`` travels with the running cell."""

    agreed: dict[str, Agreement] = field(default_factory=dict)
    offered: dict[str, Agreement] = field(default_factory=dict)

    def forget(self) -> None:
        """The process over there is new: nothing is agreed."""
        self.agreed.clear()
        self.offered.clear()

    def start_cell(self) -> None:
        """A new cell: what an earlier one offered and nobody confirmed was perhaps never received."""
        self.offered.clear()

    def is_current(self, group: Group, fingerprint: Fingerprint) -> bool:
        """True when the kernel has this very value of every name of the group."""
        for name in group:
            known = self.agreed.get(name)
            if known is None or not known.holds_for(group, fingerprint):
                return False
        return True

    def use(self, group: Group) -> dict[str, int]:
        """The cell reads a group that need not travel: the versions it is meant to find over there."""
        return {name: self.agreed[name].version for name in group}

    def offer(
        self, group: Group, fingerprint: Fingerprint, alone: Mapping[str, Fingerprint]
    ) -> dict[str, tuple[int, int]]:
        """The group travels: for each name the version it builds on, and its new one."""
        versions: dict[str, tuple[int, int]] = {}
        for name in group:
            base = self.version(name)
            versions[name] = (base, base + 1)
            self.offered[name] = Agreement(base + 1, group, fingerprint, alone[name])
        return versions

    def settle(self) -> None:
        """The kernel answered: what the cell offered arrived."""
        self.agreed.update(self.offered)
        self.offered.clear()

    def version(self, name: str) -> int:
        """The last version of ``name`` that both ends know of, 0 when there is none."""
        known = self.agreed.get(name)
        return 0 if known is None else known.version

    def expected(self, name: str) -> Fingerprint | None:
        """The fingerprint (by itself) that the local value has if nobody here touched it since it was agreed on."""
        known = self.agreed.get(name)
        return None if known is None else known.alone

    def judge(self, name: str, base: int, *, untouched: bool) -> Verdict:
        """A value of ``name`` came back that was built on version ``base``; ``untouched`` as ``expected`` says."""
        return Verdict.APPLY if untouched and base >= self.version(name) else Verdict.CONFLICT

    def accept(
        self, versions: Mapping[str, int], group: Group, fingerprint: Fingerprint, alone: Mapping[str, Fingerprint]
    ) -> None:
        """The values that came back are the local ones now."""
        for name in group:
            self.agreed[name] = Agreement(versions[name], group, fingerprint, alone[name])

    def drop(self, names: Iterable[str]) -> None:
        """The names are gone on both sides."""
        for name in names:
            self.agreed.pop(name, None)
            self.offered.pop(name, None)

    def deleted(self, present: Mapping[str, object]) -> dict[str, int]:
        """Names that both ends knew and that are no longer bound here, with their version."""
        return {name: known.version for name, known in self.agreed.items() if name not in present}
