"""One group of values under examination: its fingerprint now, and its pickle if it turns out to be needed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from .fingerprint import Address, Fingerprint, atom_fingerprint, digest
from .handles import RemoteReference, Scope
from .packing import Packed, address_of, pack


def held_fingerprint(handle: str) -> Fingerprint:
    """Stands for "the object held over there under this handle", on both ends."""
    return b"held:" + handle.encode()


def module_fingerprint(module: str) -> Fingerprint:
    """Stands for "this module", on both ends."""
    return b"module:" + module.encode()


class Examined:
    """Fingerprints without pickling where that is possible (immutable builtins, plain arrays); pickles once at most.

    ``known``: digests of memory that arrived a moment ago and that nobody has written to since. ``is_plain``: the walk
    met nothing but builtin containers of atoms.
    """

    def __init__(
        self,
        values: Sequence[object],
        scope: Scope,
        storages: Mapping[int, int] | None = None,
        known: Mapping[Address, bytes] | None = None,
        *,
        is_plain: bool = False,
    ) -> None:
        self._is_plain = is_plain
        self._values = values
        self._scope = scope
        self._storages = storages
        self._known: dict[Address, bytes] = dict(known or {})
        self._packed: Packed | None = None
        self._fingerprint: Fingerprint | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """Raises ``CannotPack`` when the value can neither be fingerprinted directly nor pickled."""
        if self._fingerprint is None:
            quick = self._plain_fingerprint() if self._is_plain else None
            if quick is None and len(self._values) == 1:
                quick = self._quick_fingerprint()
            self._fingerprint = quick or self.packed().fingerprint(self._known)
        return self._fingerprint

    def packed(self, limit: int | None = None) -> Packed:
        """The pickle; ``TooLarge`` beyond ``limit``, ``CannotPack`` with the reason. Made at most once."""
        if self._packed is None:
            self._packed = pack(self._values, self._scope, limit=limit, storages=self._storages)
        return self._packed

    def hashed(self, limit: int | None = None) -> Packed:
        """The pickle with the digests of its buffers filled in, none of them hashed twice."""
        packed = self.packed(limit)
        packed.fingerprint(self._known)
        return packed

    def _plain_fingerprint(self) -> Fingerprint | None:
        """Containers of immutable builtins, and nothing else: the plain pickler is ten times faster to start."""
        try:
            return b"plain:" + xxhash.xxh3_128_digest(pickle.dumps(self._values, 5))
        except (RecursionError, pickle.PicklingError):
            return None

    def _quick_fingerprint(self) -> Fingerprint | None:
        value = self._values[0]
        if isinstance(value, RemoteReference):
            return held_fingerprint(value._handle)
        atom = atom_fingerprint(value)
        return atom if atom is not None else self._array_fingerprint(value)

    def _array_fingerprint(self, value: Any) -> Fingerprint | None:
        """A contiguous array of plain items is its dtype, its shape and its memory."""
        kind = type(value)
        if kind.__name__ != "ndarray" or kind.__module__ != "numpy":
            return None
        flags, dtype = value.flags, value.dtype
        if dtype.hasobject or not (flags.c_contiguous or flags.f_contiguous) or value.size == 0:
            return None
        kind_of_items = dtype.str if dtype.names is None and dtype.metadata is None else repr(dtype)
        layout = f"{kind_of_items}|{value.shape}|{flags.c_contiguous}|{flags.writeable}"
        flat = value.reshape(-1, order="A").view("u1")
        return b"array:" + xxhash.xxh3_128_digest(layout.encode() + self._digest_of(memoryview(flat)))

    def _digest_of(self, view: memoryview) -> bytes:
        address = address_of(view)
        found = self._known.get(address) if address[1] else None
        if found is None:
            found = digest(view)
            if address[1]:
                self._known[address] = found
        return found
