"""What the kernel's end knows about the names it shares with a notebook."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...wire.values.about import describe
from ...wire.values.agreement import Agreement
from ...wire.values.examine import held_fingerprint
from ...wire.values.fingerprint import Address, Fingerprint
from ...wire.values.grouping import fingerprint_of, fingerprints_alone, group_now
from ...wire.values.handles import Scope
from ...wire.values.names import ShellNames, is_user_name
from .held import HeldObjects


@dataclass(slots=True)
class Cell:
    """One cell as announced by the notebook, and what came in for it."""

    transfer: bool = True
    limit_bytes: int = 0
    declared_writes: frozenset[str] = frozenset()
    out: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()
    inputs: set[str] = field(default_factory=set)
    owed: set[str] = field(default_factory=set)
    before: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    fleeting: dict[str, Any] = field(default_factory=dict)


class Records:
    """Agreements, held objects and failures, per name; and how this interpreter pickles and loads values.

    ``checked`` says in which cell a name was last compared with its agreement: in a later cell, a change may have
    slipped in that nobody saw (hidden writes, ``--no-vars``).
    """

    def __init__(self, shell: ShellNames) -> None:
        self.shell = shell
        self.user_ns: dict[str, Any] = shell.user_ns
        self.incarnation = secrets.token_hex(4)
        self.held = HeldObjects(self.incarnation, self.user_ns)
        self.agreed: dict[str, Agreement] = {}
        self.checked: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        self.cell_number = 0
        self.cell: Cell | None = None
        self.scope = Scope(self.user_ns, self._resolve, self.held.handle_of, describe)
        # For values that were asked for in full: nothing in them is replaced by a handle.
        self.whole_scope = Scope(self.user_ns, self._resolve)

    def is_user(self, name: str) -> bool:
        return is_user_name(name, self.user_ns, self.shell.user_ns_hidden)

    def version(self, name: str) -> int:
        known = self.agreed.get(name)
        return 0 if known is None else known.version

    def is_held_here(self, name: str) -> bool:
        """The notebook knows the object bound to ``name`` by its handle, and it is still the same object."""
        known = self.agreed.get(name)
        handle = self.held.handle_of(self.user_ns.get(name)) if known is not None else None
        return known is not None and handle is not None and known.fingerprint == held_fingerprint(handle)

    def agree(
        self,
        names: Sequence[str],
        versions: Mapping[str, int],
        fingerprint: Fingerprint,
        known: Mapping[Address, bytes] | None = None,
    ) -> None:
        """The notebook knows these values, as these versions."""
        group = tuple(names)
        alone = fingerprints_alone(group, fingerprint, self.scope, known)
        for name in group:
            self.agreed[name] = Agreement(versions[name], group, fingerprint, alone[name])
            self.checked[name] = self.cell_number
            self.broken.pop(name, None)

    def forget(self, name: str) -> None:
        self.agreed.pop(name, None)
        self.checked.pop(name, None)
        self.broken.pop(name, None)

    def has_changed_unseen(self, name: str) -> bool:
        """True when the value differs from the agreed one and no finished cell reported it. May hash the value."""
        known = self.agreed.get(name)
        if known is None or name not in self.user_ns or self.checked.get(name) == self.cell_number:
            return False
        return not self.is_as_agreed(name)

    def is_as_agreed(self, name: str) -> bool:
        """The value by itself is the agreed one. Those without a fingerprint are taken to be."""
        alone = self.agreed[name].alone
        return alone.startswith((b"held:", b"module:", b"identity:")) or self.fingerprint_names((name,)) == alone

    def fingerprint_names(self, names: Sequence[str], known: Mapping[Address, bytes] | None = None) -> Fingerprint:
        """Of these names as one group, whether or not they share anything."""
        return fingerprint_of(group_now(names, self.scope), self.scope, known)

    def _resolve(self, handle: str, about: dict[str, Any]) -> object:
        return self.held.get(handle)
