"""From the notebook to the kernel: turns selected variables into a parcel that holds what changed, and no more."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Mapping, Set
from typing import Any

from ...wire.errors import CannotTravel
from ...wire.values.about import type_name
from ...wire.values.examine import held_fingerprint, module_fingerprint
from ...wire.values.fingerprint import Fingerprint, atom_fingerprint
from ...wire.values.grouping import Group, fingerprints_alone, group_now
from ...wire.values.handles import RemoteReference, Scope
from ...wire.values.items import ParcelWriter
from ...wire.values.names import LAST_RESULTS
from ...wire.values.packing import CannotPack
from ...wire.values.parcel import Parcel
from ...wire.values.refusals import refusal
from ...wire.values.survey import ATOMS
from ...wire.values.unpacking import python_version
from .coherence import Coherence
from .modules import ProjectSources
from .remote_value import RemoteValue
from .selection import Selection


class Outgoing:
    """Builds one parcel. ``forced`` sends values whether or not the kernel has them (``%gpu put``)."""

    def __init__(self, coherence: Coherence, project: ProjectSources, scope: Scope, *, forced: bool = False) -> None:
        self._coherence = coherence
        self._project = project
        self._scope = scope
        self._forced = forced
        self._writer = ParcelWriter()
        self._uses: dict[str, int] = {}
        self._modules: dict[str, dict[str, Any]] = {}
        self._held: dict[str, dict[str, Any]] = {}
        self._broken: dict[str, dict[str, Any]] = {}
        self._files: dict[str, dict[str, Any]] = {}

    def add(self, selection: Selection, attributes: Iterable[str], imports: Iterable[str]) -> None:
        """Everything a cell needs. Raises ``CannotTravel`` for a name in the cell's own code that cannot."""
        reached = selection.attributes | set(attributes)
        modules = set(selection.modules) | set(imports)
        for name, value in selection.values.items():
            if isinstance(value, types.ModuleType):
                modules.add(value.__name__)
                self._add_module(name, value, reached)
            elif isinstance(value, RemoteReference):
                self._add_held(name, value, name in selection.direct)
            elif type(value) in ATOMS:
                self._add_atom(name, value)
        for group in selection.groups():
            self._add_group(group, selection.direct)
        self._add_files(modules)

    def add_fleeting(self, name: str, value: object) -> None:
        """A name that is not a variable (``_5``, ``_helper``): for the running cell only, never agreed on."""
        try:
            packed = Group((name,), (value,), {}).examined(self._scope).hashed()
        except CannotPack as error:
            raise CannotTravel(_message(name, value, str(error))) from None
        self._writer.add([name], packed, {})["fleeting"] = True

    def add_last_results(self, names: Iterable[str], user_ns: Mapping[str, Any]) -> None:
        """``_`` and its elders, when a cell mentions them: they have no versions."""
        for name in LAST_RESULTS.intersection(names):
            try:
                packed = Group((name,), (user_ns.get(name, ""),), {}).examined(self._scope).hashed()
            except CannotPack as error:
                raise CannotTravel(_message(name, user_ns[name], str(error))) from None
            self._writer.add([name], packed, {})

    def parcel(self, **extra: Any) -> Parcel:
        manifest = {
            "python": python_version(),
            "items": self._writer.items,
            "uses": self._uses,
            "modules": self._modules,
            "held": self._held,
            "broken": self._broken,
        }
        if self._files:
            manifest["project"] = {"files": self._files}
        return Parcel(manifest | extra, self._writer.buffers)

    def _add_atom(self, name: str, value: object) -> None:
        """Immutable and self-contained: most variables of most notebooks, so the shortest way."""
        fingerprint = atom_fingerprint(value)
        if fingerprint is None:
            self._add_group(Group((name,), (value,), {}), frozenset())
        elif not self._is_current((name,), fingerprint):
            packed = Group((name,), (value,), {}).examined(self._scope).hashed()
            self._writer.add((name,), packed, self._offer(name, fingerprint))

    def _offer(self, name: str, fingerprint: Fingerprint) -> dict[str, tuple[int, int]]:
        return self._coherence.offer((name,), fingerprint, {name: fingerprint})

    def _is_current(self, names: tuple[str, ...], fingerprint: bytes) -> bool:
        if self._forced or not self._coherence.is_current(names, fingerprint):
            return False
        self._uses |= self._coherence.use(names)
        return True

    def _add_module(self, name: str, module: types.ModuleType, reached: set[str]) -> None:
        submodules = _submodules_reached(module.__name__, reached)
        fingerprint = module_fingerprint(" ".join([module.__name__, *submodules]))
        if self._is_current((name,), fingerprint):
            return
        versions = self._offer(name, fingerprint)[name]
        self._modules[name] = {
            "module": module.__name__,
            "submodules": submodules,
            "versions": list(versions),
        }

    def _add_held(self, name: str, value: RemoteReference, is_direct: bool) -> None:
        if value._lost or not self._is_ours(value):
            reason = "the object it stood for is lost" if value._lost else "it lives in another kernel"
            message = f"variable {name!r} cannot be used here, because {reason}. Make it again in a %%gpu cell."
            self._cannot(name, message, is_direct)
            return
        fingerprint = held_fingerprint(value._handle)
        if not self._is_current((name,), fingerprint):
            versions = self._offer(name, fingerprint)[name]
            self._held[name] = {"handle": value._handle, "versions": list(versions)}

    def _is_ours(self, value: RemoteReference) -> bool:
        return isinstance(value, RemoteValue) and self._scope.resolve(value._handle, {}) is value

    def _add_group(self, group: Group, direct: Set[str]) -> None:
        try:
            _refuse_at_sight(group)
            examined = group.examined(self._scope)
            fingerprint = examined.fingerprint
            if self._is_current(group.names, fingerprint):
                return
            packed = examined.hashed()
            alone = fingerprints_alone(group.names, fingerprint, self._scope)
            self._writer.add(group.names, packed, self._coherence.offer(group.names, fingerprint, alone))
        except CannotPack as error:
            self._add_refused(group, direct, error)

    def _add_refused(self, group: Group, direct: Set[str], error: CannotPack) -> None:
        """One bad value must not take the names it is tied to with it: try each for itself."""
        if len(group.names) > 1:
            for name in group.names:
                self._add_group(group_now((name,), self._scope), direct)
            return
        (name,) = group.names
        message = _message(name, group.values[0], str(error))
        self._cannot(name, message, name in direct)

    def _cannot(self, name: str, message: str, is_direct: bool) -> None:
        """The cell's own names fail before a GPU is asked for; names it may not even use fail when it uses them."""
        if is_direct:
            raise CannotTravel(message)
        fingerprint = b"broken:" + message.encode()
        if not self._is_current((name,), fingerprint):
            versions = self._offer(name, fingerprint)[name]
            self._broken[name] = {"reason": message, "versions": list(versions)}

    def _add_files(self, modules: Iterable[str]) -> None:
        for file in self._project.offer(modules):
            self._files[file.relative] = {"buffer": len(self._writer.buffers), "sha256": file.sha256}
            self._writer.buffers.append(file.content)


def _refuse_at_sight(group: Group) -> None:
    for value in group.values:
        reason = refusal(type(value))
        if reason is not None:
            raise CannotPack(f"it is {reason}")


def _message(name: str, value: object, reason: str) -> str:
    return (
        f"variable {name!r} ({type_name(value)}) cannot travel to the kernel, because {reason}. "
        "Make it inside the %%gpu cell, or pass the data it is made from."
    )


def _submodules_reached(package: str, attributes: set[str]) -> list[str]:
    """Loaded submodules that the code can reach through attributes: ``import xml`` alone does not bring ``xml.dom``."""
    prefix = package + "."
    return sorted(
        name
        for name in list(sys.modules)
        if name.startswith(prefix) and attributes.issuperset(name[len(prefix) :].split("."))
    )
