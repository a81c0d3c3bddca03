"""Objects that the kernel keeps on behalf of the notebook, under handles.

A handle is for an *object*, not for a name: the notebook may bind it to three names, put it into a list, or keep it
after the name over here was bound to something else. So a held object is referenced strongly, until the notebook says
that nobody there holds its handle any more. With one exception: while a cell runs, an object that the notebook
knows by its name only (a *loose* one) is held by that name alone, so that ``del model`` in the cell frees its memory in
that cell, as it would at home.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any


class HeldObjects:
    """Handles and the objects they stand for. ``incarnation`` makes handles of another process unknown here."""

    def __init__(self, incarnation: str, user_ns: MutableMapping[str, Any]) -> None:
        self._incarnation = incarnation
        self._user_ns = user_ns
        self._numbers = itertools.count(1)
        self._objects: dict[str, object] = {}
        self._handle_by_id: dict[int, str] = {}
        self._returned: dict[str, object] = {}
        self._loose: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._objects) + len(self._loose)

    def hold(self, obj: object) -> str:
        """The handle of ``obj``, a new one if it has none."""
        known = self._handle_by_id.get(id(obj))
        if known is not None:
            return known
        handle = self._next()
        self._keep(handle, obj)
        return handle

    def lend(self, obj: object) -> str:
        """A handle for a value that travels: valid until the next cell, unless the notebook claims it because the
        value did not load there."""
        handle = self._next()
        self._returned[handle] = obj
        return handle

    def claim(self, handles: Iterable[str]) -> None:
        """The notebook keeps these of the lent handles; the others are let go."""
        for handle in handles:
            if handle in self._returned:
                self._keep(handle, self._returned[handle])
        self._returned.clear()

    def get(self, handle: str) -> object:
        """The object; ``LookupError`` when the handle was dropped or belongs to an earlier process."""
        if handle in self._objects:
            return self._objects[handle]
        if handle in self._returned:
            return self._returned[handle]
        name, identity = self._loose.get(handle, ("", 0))
        found = self._user_ns.get(name)
        if name and id(found) == identity:
            return found
        raise LookupError("the object is no longer held in the kernel: its process is new, or it was dropped")

    def handle_of(self, obj: object) -> str | None:
        """The handle of a held object. Modules have none inside values: they travel by name."""
        return None if isinstance(obj, types.ModuleType) else self._handle_by_id.get(id(obj))

    def drop(self, handles: Iterable[str]) -> None:
        """Nobody in the notebook holds these any more."""
        for handle in handles:
            self._loose.pop(handle, None)
            if handle in self._objects:
                self._handle_by_id.pop(id(self._objects.pop(handle)), None)

    def loosen(self, handle_by_name: Mapping[str, str]) -> None:
        """Before a cell: let names alone hold the objects that the notebook knows by these names only."""
        for name, handle in handle_by_name.items():
            obj = self._objects.get(handle)
            if obj is not None and self._user_ns.get(name) is obj:
                self._loose[handle] = (name, id(obj))
                del self._objects[handle]
                self._handle_by_id.pop(id(obj), None)

    def tighten(self, rebound: Iterable[str]) -> None:
        """After the cell: hold again what is still bound. ``rebound`` names were assigned to: not the same objects."""
        assigned = set(rebound)
        for handle, (name, identity) in self._loose.items():
            found = self._user_ns.get(name)
            if name in self._user_ns and id(found) == identity and name not in assigned:
                self._keep(handle, found)
        self._loose.clear()

    def _keep(self, handle: str, obj: object) -> None:
        self._objects[handle] = obj
        self._handle_by_id[id(obj)] = handle

    def _next(self) -> str:
        return f"{self._incarnation}-{next(self._numbers)}"
