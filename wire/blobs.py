"""Payloads of the blob kinds: a large buffer in chunks, each one idempotent, so that a transfer resumes where it broke.

A blob is a buffer too large for a Jupyter message. The client puts it before the message that refers to it, or gets
it after the message that announced it. A chunk says which blob, where in it, and how long the whole is, so any chunk
may be repeated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .jupyter_frames import MalformedFrame, Part

BLOB_ID_BYTES = 16
_HEADER = struct.Struct("<16sQQ")


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """``offset`` and ``size`` in bytes. For BLOB_GET ``size`` is the wanted length of the range and there is no data;
    for BLOB_STORED ``offset`` is how many bytes from the start are stored; else ``size`` is the whole blob's."""

    blob_id: bytes
    offset: int
    size: int
    data: Part = b""


def pack_chunk(chunk: BlobChunk) -> bytes:
    return b"".join((_HEADER.pack(chunk.blob_id, chunk.offset, chunk.size), chunk.data))


def unpack_chunk(payload: Part) -> BlobChunk:
    """Raises MalformedFrame when the payload is too short to be a chunk."""
    view = memoryview(payload)
    if view.nbytes < _HEADER.size:
        raise MalformedFrame(f"a payload of {view.nbytes} bytes is no chunk of a blob")
    blob_id, offset, size = _HEADER.unpack_from(view)
    return BlobChunk(blob_id, offset, size, view[_HEADER.size :])
