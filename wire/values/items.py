"""Values in a parcel: one *item* per group of names, each a pickle of its own, so that one bad value harms no other.

An item in the manifest::

    {"names": ["a", "b"], "versions": {"a": [base, new], …}, "stream": [0], "buffers": [1, 2],
     "digests": ["…"], "code": false, "handles": {"a": "…"}, "about": {"a": {…}}}

``stream`` and ``buffers`` are indexes into the parcel's buffers; ``digests`` are those of ``buffers``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .code import find_tracked_class
from .fingerprint import Address
from .handles import Scope
from .packing import Packed, address_of
from .parcel import Buffer, Parcel
from .sources import learn_sources, sources_of
from .unpacking import CannotUnpack, refuse_foreign_code, unpack

Item = dict[str, Any]
Versions = Mapping[str, tuple[int, int]]


class ParcelWriter:
    """Collects items and their buffers."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.buffers: list[Buffer] = []

    def add(self, names: Sequence[str], packed: Packed, versions: Versions) -> Item:
        """Append one pickled group. ``packed`` must have been fingerprinted if its digests are to travel."""
        item: Item = {
            "names": list(names),
            "versions": {name: list(pair) for name, pair in versions.items()},
            "stream": self._take(packed.stream),
            "buffers": self._take(packed.views),
            "digests": [each.hex() for each in packed.digests],
            "code": packed.has_code,
        }
        if packed.filenames:
            item["sources"] = sources_of(packed.filenames)
        self.items.append(item)
        return item

    def _take(self, buffers: Iterable[Buffer]) -> list[int]:
        start = len(self.buffers)
        self.buffers.extend(buffers)
        return list(range(start, len(self.buffers)))


class ParcelReader:
    """Loads the items of a received parcel, in an order in which each class is there before its instances.

    ``load`` returns the values by name. An item that does not load raises ``CannotUnpack``; the others still load.
    """

    def __init__(self, parcel: Parcel, scope: Scope, python: Sequence[int]) -> None:
        self._parcel = parcel
        self._scope = scope
        self._python = python
        self._items: list[Item] = list(parcel.manifest.get("items", ()))
        self._loaded: dict[int, dict[str, Any] | CannotUnpack] = {}
        self._item_of = {name: index for index, item in enumerate(self._items) for name in item["names"]}

    @property
    def items(self) -> list[Item]:
        return self._items

    def load(self, item: Item) -> dict[str, Any]:
        outcome = self._load(self._item_of[item["names"][0]])
        if isinstance(outcome, CannotUnpack):
            raise outcome
        return outcome

    def _load(self, index: int) -> dict[str, Any] | CannotUnpack:
        if index not in self._loaded:
            item = self._items[index]
            try:
                refuse_foreign_code(item, self._python)
                learn_sources(item.get("sources", {}))
                values = unpack(
                    [self._parcel.buffers[i] for i in item["stream"]],
                    [self._parcel.buffers[i] for i in item["buffers"]],
                    self._scope,
                    self._find_class_named,
                )
                self._loaded[index] = dict(zip(item["names"], values, strict=True))
            except CannotUnpack as error:
                self._loaded[index] = error
        return self._loaded[index]

    def _find_class_named(self, tracker_id: str, name: str) -> type:
        index = self._item_of.get(name)
        if index is not None:
            outcome = self._load(index)
            if isinstance(outcome, CannotUnpack):
                raise LookupError(f"its class {name!r} could not be loaded: {outcome}")
        found = find_tracked_class(tracker_id) or self._scope.user_ns.get(name)
        if not isinstance(found, type):
            raise LookupError(f"its class {name!r} is not there")  # noqa: TRY004 - nothing was found
        return found

    def known_digests(self, item: Item) -> dict[Address, bytes]:
        """Digests of the memory that this item's values sit on now, true until someone writes to it."""
        known: dict[Address, bytes] = {}
        for index, text in zip(item["buffers"], item["digests"], strict=False):
            address = address_of(memoryview(self._parcel.buffers[index]))
            if address[1]:
                known[address] = bytes.fromhex(text)
        return known
