"""From the kernel to the notebook: binds what a cell changed, bound and deleted over there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...wire.values.examine import held_fingerprint, module_fingerprint
from ...wire.values.fingerprint import Fingerprint
from ...wire.values.grouping import fingerprint_of, fingerprints_alone, group_now
from ...wire.values.handles import Scope
from ...wire.values.items import Item, ParcelReader
from ...wire.values.parcel import Parcel
from ...wire.values.unpacking import CannotUnpack
from .coherence import Coherence, Verdict
from .remote_value import RemoteValue

RESULT = "_"
_ABSENT = object()
Stand = Callable[[str, dict[str, Any]], RemoteValue]


class Incoming:
    """Applies one parcel. Afterwards: ``conflicts``, ``claims`` (values that did not load), ``result``.

    ``witnesses`` are the objects that names the cell binds had when it started; ``forced`` means that the user asked
    for the kernel's values (``%gpu get``), so that nothing is a conflict.
    """

    def __init__(
        self,
        coherence: Coherence,
        scope: Scope,
        stand: Stand,
        witnesses: Mapping[str, object],
        *,
        forced: bool = False,
    ) -> None:
        self._coherence = coherence
        self._scope = scope
        self._user_ns = scope.user_ns
        self._stand = stand
        self._witnesses = witnesses
        self._forced = forced
        self.conflicts: list[str] = []
        self.claims: list[str] = []
        self.result: tuple[bool, object] = (False, None)

    def apply(self, parcel: Parcel) -> None:
        manifest = parcel.manifest
        reader = ParcelReader(parcel, self._scope, manifest.get("python", (0, 0)))
        # Judge everything before binding anything: binding changes what later judgements would see.
        welcome = [item for item in reader.items if self._is_welcome(item["versions"])]
        held = {name: each for name, each in manifest.get("held", {}).items() if self._is_free(name, each)}
        modules = {name: each for name, each in manifest.get("modules", {}).items() if self._is_free(name, each)}
        deleted = [name for name in manifest.get("deleted", {}) if self._may_go(name)]
        for item in welcome:
            self._bind_item(reader, item)
        for name, entry in held.items():
            self._bind_handle(name, entry["handle"], entry["about"], entry["versions"][1])
        for name, entry in modules.items():
            self._bind_module(name, entry)
        for name in deleted:
            self._user_ns.pop(name, None)
        self._coherence.drop(deleted)
        self._take_result(manifest.get("result", {}))

    def _is_welcome(self, versions: Mapping[str, Sequence[int]]) -> bool:
        verdicts = [self._is_free(name, {"versions": pair}) for name, pair in versions.items()]
        return all(verdicts)  # of every name, so that every conflict is noted

    def _is_free(self, name: str, entry: Mapping[str, Any]) -> bool:
        if self._forced:
            return True
        verdict = self._coherence.judge(name, entry["versions"][0], untouched=self._is_untouched(name))
        if verdict is Verdict.CONFLICT:
            self.conflicts.append(name)
        return verdict is Verdict.APPLY

    def _is_untouched(self, name: str) -> bool:
        """Nobody in the notebook changed or rebound the name since it was agreed on (if the cell binds it without
        reading it: since the cell started)."""
        if name in self._witnesses:
            return self._user_ns.get(name, _ABSENT) is self._witnesses[name]
        expected = self._coherence.expected(name)
        if expected is None:
            return True
        return name in self._user_ns and fingerprint_of(group_now((name,), self._scope), self._scope) == expected

    def _bind_item(self, reader: ParcelReader, item: Item) -> None:
        names: list[str] = item["names"]
        try:
            values = reader.load(item)
        except CannotUnpack:
            self._bind_unloadable(item)
            return
        if RESULT in values:
            self.result = (True, values[RESULT])
        tracked = [name for name in names if name != RESULT]
        for name in tracked:
            self._user_ns[name] = values[name]
        if tracked:
            versions = {name: pair[1] for name, pair in item["versions"].items()}
            known = reader.known_digests(item)
            fingerprint = fingerprint_of(group_now(tracked, self._scope), self._scope, known)
            alone = fingerprints_alone(tracked, fingerprint, self._scope, known)
            self._coherence.accept(versions, tuple(tracked), fingerprint, alone)

    def _bind_unloadable(self, item: Item) -> None:
        """It pickles there and does not load here (a missing module, mostly): it stays there, under a handle."""
        for name in item["names"]:
            handle = item["handles"][name]
            self.claims.append(handle)
            if name == RESULT:
                self.result = (True, self._stand(handle, item["about"][name]))
            else:
                self._bind_handle(name, handle, item["about"][name], item["versions"][name][1])

    def _bind_handle(self, name: str, handle: str, about: dict[str, Any], version: int) -> None:
        self._user_ns[name] = self._stand(handle, about)
        self._accept(name, version, held_fingerprint(handle))

    def _accept(self, name: str, version: int, fingerprint: Fingerprint) -> None:
        self._coherence.accept({name: version}, (name,), fingerprint, {name: fingerprint})

    def _bind_module(self, name: str, entry: Mapping[str, Any]) -> None:
        """A module that is loaded here already, or costs nothing to load, is bound; any other stays over there."""
        module, version = entry["module"], entry["versions"][1]
        if module in sys.modules or module.partition(".")[0] in sys.stdlib_module_names:
            try:
                self._user_ns[name] = importlib.import_module(module)
            except ImportError:
                pass
            else:
                self._accept(name, version, module_fingerprint(module))
                return
        self._bind_handle(name, entry["handle"], entry["about"], version)

    def _may_go(self, name: str) -> bool:
        if self._forced or name not in self._user_ns or self._is_untouched(name):
            return True
        self.conflicts.append(name)
        return False

    def _take_result(self, result: Mapping[str, Any]) -> None:
        if result.get("kind") == "name" and result["name"] in self._user_ns:
            self.result = (True, self._user_ns[result["name"]])
        elif result.get("kind") == "held":
            self.result = (True, self._stand(result["handle"], result["about"]))
