"""Fingerprints: has a value changed since this same interpreter last looked?

A fingerprint is xxh3-128 over what would travel: the pickle stream, then the memory of every out-of-band buffer. Equal
values have different pickles in different interpreters, so a fingerprint never leaves the interpreter that made it.
Digests of raw *memory* do compare anywhere: the receiver of a buffer is told its digest and need not hash it again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import xxhash

from .parcel import Buffer

Fingerprint = bytes
Address = tuple[int, int]  # where a buffer lies in this process, and its length: valid while nobody wrote to it

_SMALL_TEXT: Final = 256
_PARALLEL_FROM: Final = 64 * 2**20
_PARTS: Final = 4
_DIRECT: Final = frozenset({int, bool, type(None), float, complex, str, bytes, range, type(...)})


def atom_fingerprint(value: object) -> Fingerprint | None:
    """For immutable builtins, without pickling: type and value. ``None`` for everything else."""
    kind = type(value)
    if kind not in _DIRECT:
        return None
    if kind is float:
        return b"float:" + struct.pack("<d", value)
    if kind is str:
        return b"str:" + _short(value.encode("utf-8", "surrogatepass"))  # type: ignore[attr-defined]
    if kind is bytes:
        return b"bytes:" + _short(value)  # type: ignore[arg-type]
    if kind is int and value.bit_length() > 1024:  # type: ignore[attr-defined]
        size = value.bit_length() // 8 + 1  # type: ignore[attr-defined]
        return b"int:" + xxhash.xxh3_128_digest(value.to_bytes(size, "little", signed=True))  # type: ignore[attr-defined]
    return f"{kind.__name__}:{value!r}".encode()


def _short(text: bytes) -> bytes:
    return text if len(text) <= _SMALL_TEXT else b"#" + xxhash.xxh3_128_digest(text)


def digest(buffer: Buffer) -> bytes:
    """xxh3-128 of raw memory: large buffers in four parts at once (xxhash lets go of the interpreter lock)."""
    view = memoryview(buffer)
    if view.nbytes < _PARALLEL_FROM:
        return xxhash.xxh3_128_digest(view)
    flat = view.cast("B") if view.format != "B" or view.ndim != 1 else view
    step = -(-flat.nbytes // _PARTS)
    parts = [flat[start : start + step] for start in range(0, flat.nbytes, step)]
    with ThreadPoolExecutor(_PARTS) as pool:
        return xxhash.xxh3_128_digest(b"".join(pool.map(xxhash.xxh3_128_digest, parts)))


def digests(buffers: Iterable[tuple[Address, Buffer]], known: Mapping[Address, bytes] | None = None) -> list[bytes]:
    """The digest of each buffer; those in ``known`` were hashed already and nobody has written to them since."""
    trusted = known or {}
    return [trusted.get(address) or digest(buffer) for address, buffer in buffers]


def combine(stream: Iterable[Buffer], buffer_digests: Iterable[bytes]) -> Fingerprint:
    """The fingerprint of a pickle: its stream and the digests of its buffers, in order."""
    hasher = xxhash.xxh3_128()
    for segment in stream:
        hasher.update(segment)
    for each in buffer_digests:
        hasher.update(each)
    return hasher.digest()
