"""Variables that arrive in the kernel: before a cell, on demand while it runs, and by ``%gpu put``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ...wire.errors import VariableConflict
from ...wire.values.examine import held_fingerprint, module_fingerprint
from ...wire.values.items import Item, ParcelReader
from ...wire.values.names import LAST_RESULTS
from ...wire.values.parcel import Parcel
from ...wire.values.unpacking import CannotUnpack
from .project_modules import ProjectModules
from .records import Records


class Arrivals:
    """Binds what a parcel brings. What cannot be loaded is remembered with its reason, and raises when it is used."""

    def __init__(self, records: Records, project: ProjectModules) -> None:
        self._records = records
        self._project = project

    def apply(self, parcel: Parcel, *, overwrite: bool = True, forced: bool = False) -> set[str]:
        """Bind everything in ``parcel`` and agree on it; the names it concerns, whether or not they could be bound.

        ``overwrite`` is off while a cell runs: its code may hold the very objects that would be replaced.
        ``forced``: the user said that the notebook's value wins.
        """
        manifest = parcel.manifest
        if not forced:
            self._refuse_conflicts(_offered(manifest))
        self._project.receive(parcel)
        bound: set[str] = set()
        bound |= self._bind_modules(manifest.get("modules", {}))
        bound |= self._bind_held(manifest.get("held", {}))
        bound |= self._bind_broken(manifest.get("broken", {}))
        reader = ParcelReader(parcel, self._records.scope, manifest.get("python", (0, 0)))
        for item in reader.items:
            bound |= self._bind_item(reader, item, overwrite)
        return bound

    def delete(self, versions: Mapping[str, int]) -> None:
        """The notebook deleted these names."""
        for name in versions:
            self._records.user_ns.pop(name, None)
            self._records.forget(name)

    def expect(self, versions: Mapping[str, int]) -> set[str]:
        """Names the notebook believes are here in these versions. Those that are newer here are owed to it.

        One that is missing or older is dropped, so that the cell asks for it when it uses it.
        """
        owed: set[str] = set()
        records = self._records
        for name, version in versions.items():
            here = records.version(name)
            if here < version or (name not in records.user_ns and name not in records.broken):
                records.user_ns.pop(name, None)
                records.forget(name)
            elif here > version:
                owed.add(name)
        return owed

    def _refuse_conflicts(self, offered: Mapping[str, int]) -> None:
        for name, base in offered.items():
            newer_here = self._records.version(name) > base > 0
            if newer_here or self._records.has_changed_unseen(name):
                raise VariableConflict(
                    f"variable {name!r} was changed in the notebook and in the kernel since they last agreed on it. "
                    f"Keep the notebook's value with `%gpu put {name}`, or the kernel's with `%gpu get {name}`."
                )

    def _bind_modules(self, modules: Mapping[str, Mapping[str, Any]]) -> set[str]:
        for name, entry in modules.items():
            target = entry["module"]
            try:
                module = importlib.import_module(target)
                for submodule in entry.get("submodules", ()):
                    importlib.import_module(submodule)
            except Exception as error:  # noqa: BLE001 - importing runs code that may raise anything
                self._cannot_bind(name, _why_no_module(name, target, error), entry["versions"][1])
            else:
                self._bind(name, module)
                self._records.agree([name], {name: entry["versions"][1]}, module_fingerprint(target))
        return set(modules)

    def _bind_held(self, held: Mapping[str, Mapping[str, Any]]) -> set[str]:
        for name, entry in held.items():
            try:
                found = self._records.held.get(entry["handle"])
            except LookupError as error:
                self._cannot_bind(name, f"variable {name!r}: {error}", entry["versions"][1])
            else:
                self._bind(name, found)
                fingerprint = held_fingerprint(entry["handle"])
                self._records.agree([name], {name: entry["versions"][1]}, fingerprint)
        return set(held)

    def _bind_broken(self, broken: Mapping[str, Mapping[str, Any]]) -> set[str]:
        for name, entry in broken.items():
            self._cannot_bind(name, entry["reason"], entry["versions"][1])
        return set(broken)

    def _bind_item(self, reader: ParcelReader, item: Item, overwrite: bool) -> set[str]:
        names: Sequence[str] = item["names"]
        versions = {name: pair[1] for name, pair in item["versions"].items()}
        try:
            values = reader.load(item)
        except CannotUnpack as error:
            for name in names:
                self._cannot_bind(name, _why_no_value(name, error), versions.get(name, 0))
            return set(names)
        if item.get("fleeting"):
            cell = self._records.cell
            if cell is not None:
                cell.fleeting.update(values)
            return set()
        for name, value in values.items():
            if overwrite or name not in self._records.user_ns:
                self._bind(name, value)
        tracked = [name for name in names if name in versions]
        if tracked:
            known = reader.known_digests(item)
            self._records.agree(tracked, versions, self._records.fingerprint_names(tracked, known), known)
        return set(tracked)

    def _bind(self, name: str, value: object) -> None:
        self._records.user_ns[name] = value
        if name in LAST_RESULTS:  # the display hook shifts these, and only while it recognises them
            hook = getattr(self._records.shell, "displayhook", None)
            if hook is not None:
                setattr(hook, name, value)
                self._records.shell.user_ns_hidden[name] = value

    def _cannot_bind(self, name: str, reason: str, version: int) -> None:
        """The old value must not be found instead: take it away, and say why when the name is used."""
        records = self._records
        records.user_ns.pop(name, None)
        records.agree([name], {name: version}, b"identity:none")
        records.broken[name] = reason


def _offered(manifest: Mapping[str, Any]) -> dict[str, int]:
    """All names a parcel brings, with the version each builds on."""
    offered: dict[str, int] = {}
    for kind in ("modules", "held", "broken"):
        offered |= {name: entry["versions"][0] for name, entry in manifest.get(kind, {}).items()}
    for item in manifest.get("items", ()):
        offered |= {name: pair[0] for name, pair in item["versions"].items()}
    return offered


def _why_no_module(name: str, module: str, error: Exception) -> str:
    called = f"module {module!r}" if name == module else f"module {module!r}, which the notebook calls {name!r},"
    if isinstance(error, ModuleNotFoundError):
        missing = error.name or module
        return (
            f"{called} cannot be imported in the kernel: {missing!r} is not installed there. Install it in a cell "
            f"there (`%pip install {missing.partition('.')[0]}`) or choose an environment that has it (`--env NAME`)."
        )
    return f"{called} cannot be imported in the kernel: {type(error).__name__}: {error}"


def _why_no_value(name: str, error: CannotUnpack) -> str:
    advice = "Bring it as plain data, or make it in the cell."
    if error.missing_module is not None:
        package = error.missing_module.partition(".")[0]
        advice = f"Install it there (`%pip install {package}`) or choose an environment that has it (`--env NAME`)."
    return f"variable {name!r} cannot travel to the kernel, because {error}. {advice}"
