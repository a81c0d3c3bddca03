"""Variables that go back to the notebook after a cell: which ones, in what form, and what stays.

Every candidate (a name the cell was given, bound, or was told to bring) ends in one of four ways: it is unchanged and
nothing is said; it travels as a value; it stays and a handle travels; or it was deleted. Whatever cannot be
pickled stays, and never takes another variable down with it.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from typing import Any

from ...wire.values.about import describe, size_bytes, type_name
from ...wire.values.examine import Examined, held_fingerprint, module_fingerprint
from ...wire.values.fingerprint import Fingerprint, atom_fingerprint
from ...wire.values.grouping import Group, group_values
from ...wire.values.items import ParcelWriter
from ...wire.values.packing import CannotPack, Packed, TooLarge
from ...wire.values.refusals import refusal
from ...wire.values.survey import ATOMS, survey
from .records import Cell, Records

RESULT = "_"  # the last expression's value travels beside the variables, under the name IPython gives it


class Departures:
    """Builds the parcel of one finished cell."""

    def __init__(self, records: Records, cell: Cell) -> None:
        self._records = records
        self._cell = cell
        self._writer = ParcelWriter()
        self._held: dict[str, dict[str, Any]] = {}
        self._modules: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, str] = {}
        self._result: dict[str, Any] = {"kind": "none"}
        self._values: dict[str, object] = {}
        self._special = cell.keep | cell.owed | set(cell.out)

    def collect(self, result: tuple[bool, object]) -> tuple[dict[str, Any], ParcelWriter]:
        """The manifest's variable part and the writer with the values in it."""
        has_result, value = result
        deleted = self._deleted()
        self._values = {name: self._records.user_ns[name] for name in self._candidates()}
        if has_result:
            self._place_result(value)
        examined = {name: value for name, value in self._values.items() if not self._is_same_atom(name, value)}
        examined = {name: value for name, value in examined.items() if not self._settles(name, value)}
        surveys = {name: survey(value, self._records.scope) for name, value in examined.items()}
        for group in group_values(examined, surveys):
            self._depart(group)
        manifest = {
            "held": self._held,
            "modules": self._modules,
            "deleted": deleted,
            "failed": self._failed,
            "result": self._result,
            "items": self._writer.items,
        }
        return manifest, self._writer

    def _candidates(self) -> list[str]:
        cell, records = self._cell, self._records
        names = set(cell.inputs) | cell.owed | cell.declared_writes | set(cell.out) | cell.keep
        names |= {name for name, value in records.user_ns.items() if cell.before.get(name) != id(value)}
        for name in list(names):
            known = records.agreed.get(name)
            if known is not None:
                names.update(known.group)
        return [name for name in records.user_ns if name in names and records.is_user(name)]

    def _deleted(self) -> dict[str, int]:
        """Names the notebook knows that are bound no longer. Broken ones never were bound here."""
        records = self._records
        gone = {
            name: known.version
            for name, known in records.agreed.items()
            if name not in records.user_ns and name not in records.broken and records.is_user(name)
        }
        for name in gone:  # those that shared with it are agreed on as a group that is no more
            self._cell.inputs.update(records.agreed[name].group)
            records.forget(name)
        return gone

    def _place_result(self, value: object) -> None:
        """When the result is one of the variables, say which: it must be the same object at home."""
        for name, candidate in self._records.user_ns.items():
            if candidate is value and self._records.is_user(name) and self._is_known(name):
                self._result = {"kind": "name", "name": name}
                return
        self._values[RESULT] = value

    def _is_known(self, name: str) -> bool:
        return name in self._values or name in self._records.agreed

    def _is_same_atom(self, name: str, value: object) -> bool:
        """Immutable, and still the agreed value: most variables of most cells, so asked first."""
        known = self._records.agreed.get(name)
        if known is None or type(value) not in ATOMS or known.group != (name,) or name in self._special:
            return False
        if known.fingerprint != atom_fingerprint(value):
            return False
        self._records.checked[name] = self._records.cell_number
        return True

    def _settles(self, name: str, value: object) -> bool:
        """Decide without looking inside, where that can be done."""
        records, cell = self._records, self._cell
        if name in cell.keep:
            return self._stay(name, value)
        if isinstance(value, types.ModuleType):
            return self._send_module(name, value)
        wanted = name in cell.out
        reason = refusal(type(value))
        if reason is not None:
            if wanted:
                self._fail(name, value, f"it is {reason}")
            return self._stay(name, value)
        if wanted:
            return False
        if records.is_held_here(name):
            return name not in cell.owed or self._stay(name, value)
        known = records.agreed.get(name)
        if known is None or known.fingerprint.startswith(b"held:"):
            size = size_bytes(value)
            if size is not None and size > cell.limit_bytes:
                return self._stay(name, value)
        return False

    def _depart(self, group: Group) -> None:
        records, cell = self._records, self._cell
        known = [records.agreed.get(name) for name in group.names]
        wanted = [name for name in group.names if name in cell.out]
        try:
            examined = group.examined(records.whole_scope if wanted else records.scope)
            if any(each is not None and not each.fingerprint.startswith(b"held:") for each in known):
                fingerprint = examined.fingerprint
                if self._is_unchanged(group, fingerprint):
                    return
            limit = None if wanted else cell.limit_bytes * len(group.names)
            self._send(group, examined, examined.hashed(limit), limit)
        except (TooLarge, CannotPack) as error:
            for name in wanted:
                self._fail(name, self._values[name], str(error))
            self._leave_behind(group)

    def _is_unchanged(self, group: Group, fingerprint: Fingerprint) -> bool:
        """The notebook has these values, and shares them in the same way.

        A name bound to a new, equal object is a change: at home, its former aliases would no longer follow. And
        a group that merely lost a member is not one, but is agreed on as it is now.
        """
        records, cell = self._records, self._cell
        known = [records.agreed.get(name) for name in group.names]
        if any(name in cell.owed for name in group.names) or any(each is None for each in known):
            return False
        agreed = [each for each in known if each is not None]
        identities = dict(zip(group.names, map(id, group.values), strict=True))
        rebound = any(cell.before.get(name, identity) != identity for name, identity in identities.items())
        if all(each.holds_for(group.names, fingerprint) for each in agreed):
            if rebound and sum(size_bytes(value) or 0 for value in group.values) <= cell.limit_bytes:
                return False
        elif rebound or not all(set(group.names) < set(each.group) for each in agreed):
            return False
        elif all(records.is_as_agreed(name) for name in group.names):
            records.agree(group.names, {name: records.version(name) for name in group.names}, fingerprint)
        else:
            return False
        for name in group.names:
            records.checked[name] = records.cell_number
        return True

    def _send(self, group: Group, examined: Examined, packed: Packed, limit: int | None) -> None:
        if limit is not None and packed.size_bytes > limit:
            raise TooLarge
        records = self._records
        tracked = [name for name in group.names if name != RESULT]
        versions = {name: (records.version(name), records.version(name) + 1) for name in tracked}
        item = self._writer.add(group.names, packed, versions)
        values = dict(zip(group.names, group.values, strict=True))
        item["handles"] = {name: records.held.lend(values[name]) for name in group.names}
        item["about"] = {name: describe(values[name]) for name in group.names}
        new = {name: pair[1] for name, pair in versions.items()}
        if len(tracked) == len(group.names):
            records.agree(tracked, new, examined.fingerprint)
        elif tracked:  # the group will be without the result from now on
            records.agree(tracked, new, records.fingerprint_names(tracked))
        if RESULT in group.names:
            self._result = {"kind": "item"}

    def _send_module(self, name: str, module: types.ModuleType) -> bool:
        fingerprint = module_fingerprint(module.__name__)
        if name == RESULT:
            return self._stay(name, module)
        known = self._records.agreed.get(name)
        if known is None or known.fingerprint != fingerprint or name in self._cell.owed:
            base = self._records.version(name)
            handle = self._records.held.hold(module)
            self._modules[name] = {
                "module": module.__name__,
                "handle": handle,
                "about": describe(module),
                "versions": [base, base + 1],
            }
            self._records.agree([name], {name: base + 1}, fingerprint)
        return True

    def _leave_behind(self, group: Group) -> None:
        """Of a group that cannot travel, keep the members at fault; the others refer to them by their handles.

        ``{"model": model, "accuracy": 0.9}`` should come back with the number, and a handle for the model. Small graphs
        are tried first: a large one may only fail because it contains them.
        """
        survivors: dict[str, object] = {}
        members = sorted(group.names, key=lambda name: len(survey(self._values[name], self._records.scope).nodes))
        for name in members:
            value = self._values[name]
            if len(members) > 1 and self._fits(value):
                survivors[name] = value
            else:
                self._stay(name, value)
        if len(survivors) == len(members):  # each for itself would do, but together they share what must not be torn
            for name, value in survivors.items():
                self._stay(name, value)
            return
        surveys = {name: survey(value, self._records.scope) for name, value in survivors.items()}
        for smaller in group_values(survivors, surveys):
            self._depart(smaller)

    def _fits(self, value: object) -> bool:
        try:
            Examined([value], self._records.scope).packed(self._cell.limit_bytes)
        except (TooLarge, CannotPack):
            return False
        return True

    def _stay(self, name: str, value: object) -> bool:
        """Keep the object here and send its handle, unless the notebook has it already."""
        handle = self._records.held.hold(value)
        entry: dict[str, Any] = {"handle": handle, "about": describe(value)}
        if name == RESULT:
            self._result = {"kind": "held", **entry}
            return True
        known = self._records.agreed.get(name)
        fingerprint = held_fingerprint(handle)
        if known is None or known.fingerprint != fingerprint or name in self._cell.owed:
            base = self._records.version(name)
            self._held[name] = entry | {"versions": [base, base + 1]}
            self._records.agree([name], {name: base + 1}, fingerprint)
        return True

    def _fail(self, name: str, value: object, reason: str) -> None:
        self._failed[name] = (
            f"variable {name!r} ({type_name(value)}) cannot come back to the notebook, because {reason}. "
            f"It stays in the kernel, usable in later cells there: leave it out of --out, or bring the data in it."
        )


def pack_whole(records: Records, values: Sequence[object], writer: ParcelWriter, names: Sequence[str]) -> None:
    """Append full values that were asked for by handle, each by itself."""
    for name, value in zip(names, values, strict=True):
        found = survey(value, records.whole_scope)
        examined = Examined([value], records.whole_scope, found.storages)
        writer.add([name], examined.hashed(), {})


def names_present(names: Iterable[str], records: Records) -> list[str]:
    """Of these names, the variables that exist here."""
    return [name for name in names if name in records.user_ns and records.is_user(name)]
