"""The unit that carries variables between a notebook and a kernel, whatever link it travels on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Parcel:
    """``manifest``: a JSON-able document that says what is in ``buffers``, by index.

    The link promises: the manifest arrives as it was; each buffer arrives whole, in order, and at the receiving
    side is *writable* memory that belongs to the receiver (so arrays made on it are writable).
    A sender's large buffers may be views of the user's own arrays; the link never changes them.
    """

    manifest: dict[str, Any] = field(default_factory=dict)
    buffers: Sequence[Buffer] = ()

    @property
    def size_bytes(self) -> int:
        return sum(memoryview(buffer).nbytes for buffer in self.buffers)
