"""Large buffers on the agent's side: files in the kernel's blob directory (docs/protocol.md §4).

A put is stored where it belongs in a file that has its full size from the start, so that a disk that is too small
says so with the first chunk. Chunks may repeat; a blob that the kernel has taken already is not stored again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..wire.blobs import BlobChunk, pack_chunk, unpack_chunk
from ..wire.envelope import CHUNK_BYTES, Envelope, Kind, pack

MAX_RANGE_BYTES = 8 << 20
_REMEMBERED = 10_000

SendLater = Callable[[Callable[[], bytes]], None]


@dataclass(slots=True)
class _Incoming:
    fd: int
    size: int
    stored: int = 0  # bytes from the start without a hole


class Blobs:
    """The blobs of one kernel process."""

    def __init__(self, directory: Path, incarnation: bytes, send_later: SendLater) -> None:
        self._directory = directory
        self._incarnation = incarnation
        self._send_later = send_later
        self._incoming: dict[bytes, _Incoming] = {}
        self._stored: dict[bytes, int] = {}

    def receive(self, envelope: Envelope) -> None:
        """Answer a BLOB_PUT, BLOB_GET or BLOB_DROP."""
        chunk = unpack_chunk(envelope.payload)
        try:
            match envelope.kind:
                case Kind.BLOB_PUT:
                    stored = self._put(chunk)
                    self._answer(envelope, Kind.BLOB_STORED, BlobChunk(chunk.blob_id, stored, chunk.size))
                case Kind.BLOB_GET:
                    self._get(envelope, chunk)
                case _:
                    self._drop(chunk.blob_id)
        except OSError as error:
            self._forget(chunk.blob_id)
            reason = _why(error, chunk.size).encode()
            self._answer(envelope, Kind.BLOB_FAILED, BlobChunk(chunk.blob_id, chunk.offset, chunk.size, reason))

    def close(self) -> None:
        for incoming in self._incoming.values():
            os.close(incoming.fd)
        self._incoming.clear()

    def _put(self, chunk: BlobChunk) -> int:
        if chunk.blob_id in self._stored:
            return self._stored[chunk.blob_id]
        incoming = self._incoming.get(chunk.blob_id)
        if incoming is None:
            incoming = self._incoming[chunk.blob_id] = self._create(chunk)
        end = chunk.offset + len(chunk.data)
        if chunk.offset <= incoming.stored and end <= incoming.size:
            _write_all(incoming.fd, memoryview(chunk.data), chunk.offset)
            incoming.stored = max(incoming.stored, end)
        if incoming.stored == incoming.size:
            self._complete(chunk.blob_id, incoming)
        return incoming.stored

    def _create(self, chunk: BlobChunk) -> _Incoming:
        path = self._directory / f"{chunk.blob_id.hex()}.part"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if chunk.size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, chunk.size)
            else:
                os.ftruncate(fd, chunk.size)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return _Incoming(fd, chunk.size)

    def _complete(self, blob_id: bytes, incoming: _Incoming) -> None:
        os.close(incoming.fd)
        del self._incoming[blob_id]
        (self._directory / f"{blob_id.hex()}.part").rename(self._directory / blob_id.hex())
        self._stored[blob_id] = incoming.size
        if len(self._stored) > _REMEMBERED:
            del self._stored[next(iter(self._stored))]

    def _get(self, envelope: Envelope, chunk: BlobChunk) -> None:
        path = self._directory / chunk.blob_id.hex()
        whole = path.stat().st_size
        end = min(whole, chunk.offset + min(chunk.size, MAX_RANGE_BYTES))
        for offset, length in _cuts(chunk.offset, end):
            self._send_later(partial(self._data, envelope, path, offset, length, whole))

    def _data(self, envelope: Envelope, path: Path, offset: int, length: int, whole: int) -> bytes:
        blob_id = bytes.fromhex(path.name)
        try:
            with path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), length, offset)
        except OSError as error:
            failed = BlobChunk(blob_id, offset, whole, _why(error, whole).encode())
            return self._packed(envelope, Kind.BLOB_FAILED, failed)
        return self._packed(envelope, Kind.BLOB_DATA, BlobChunk(blob_id, offset, whole, data))

    def _drop(self, blob_id: bytes) -> None:
        self._forget(blob_id)
        self._stored.pop(blob_id, None)
        (self._directory / blob_id.hex()).unlink(missing_ok=True)

    def _forget(self, blob_id: bytes) -> None:
        incoming = self._incoming.pop(blob_id, None)
        if incoming is not None:
            os.close(incoming.fd)
            (self._directory / f"{blob_id.hex()}.part").unlink(missing_ok=True)

    def _answer(self, request: Envelope, kind: Kind, chunk: BlobChunk) -> None:
        message = self._packed(request, kind, chunk)
        self._send_later(lambda: message)

    def _packed(self, request: Envelope, kind: Kind, chunk: BlobChunk) -> bytes:
        return pack(Envelope(kind, request.stream, self._incarnation, payload=pack_chunk(chunk)))


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def _cuts(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Chunk-sized (offset, length) pairs; one empty pair for an empty range, so that it is answered too."""
    if start >= end:
        yield start, 0
    while start < end:
        length = min(CHUNK_BYTES, end - start)
        yield start, length
        start += length


def _why(error: OSError, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the agent has no room for {size >> 20} MiB; delete something there, or send less"
    if error.errno == errno.ENOENT:
        return "the agent does not have this value any more; run the cell again"
    return f"the agent could not handle {size >> 20} MiB: {error.strerror}"
