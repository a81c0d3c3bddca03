"""Large buffers, put and got in chunks that resume where a broken connection left them (docs/protocol.md §4)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ..wire.blobs import BLOB_ID_BYTES, BlobChunk, pack_chunk, unpack_chunk
from ..wire.envelope import CHUNK_BYTES, Kind
from ..wire.errors import ValueTransferError
from ..wire.jupyter_frames import Part

WINDOW_BYTES = 8 << 20
Progress = Callable[[int], None]
"""Told how many more bytes have arrived."""


def _ignore(_: int) -> None:
    """For transfers that nobody watches."""


@dataclass(slots=True)
class _Transfer:
    """``offset``: bytes from the start that the receiving side has."""

    size: int
    target: memoryview | None  # of a get: where the bytes go
    offset: int = 0
    reported: int = 0  # to whoever watches the progress
    generation: int = 0  # of the connection
    error: Exception | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class BlobTransfers:
    """All blob transfers of one channel."""

    def __init__(self, send: Callable[[Kind, bytes], Awaitable[None]]) -> None:
        self._send = send
        self._transfers: dict[bytes, _Transfer] = {}
        self._generation = 0

    async def put(self, data: Part, progress: Progress = _ignore) -> bytes:
        """Store a buffer at the agent; returns the blob's id once all of it is there.

        Raises:
            ValueTransferError: when the agent cannot store it, saying why.
        """
        view = memoryview(data).cast("B")
        blob_id = secrets.token_bytes(BLOB_ID_BYTES)
        transfer = self._begin(blob_id, view.nbytes, None)
        sent = 0
        try:
            while transfer.offset < view.nbytes:
                if transfer.generation != self._generation:
                    transfer.generation, sent = self._generation, transfer.offset
                while sent < view.nbytes and sent - transfer.offset < WINDOW_BYTES and transfer.error is None:
                    chunk = BlobChunk(blob_id, sent, view.nbytes, view[sent : sent + CHUNK_BYTES])
                    sent += chunk.data.nbytes  # type: ignore[union-attr]
                    await self._send(Kind.BLOB_PUT, pack_chunk(chunk))
                await self._progressed(transfer, progress)
        finally:
            del self._transfers[blob_id]
        return blob_id

    async def get(self, blob_id: bytes, size: int, progress: Progress = _ignore) -> bytearray:
        """Fetch a blob into memory of our own, writable, and let the agent drop it.

        Raises:
            ValueTransferError: when the agent cannot send it, saying why.
        """
        data = bytearray(size)
        transfer = self._begin(blob_id, size, memoryview(data))
        asked = 0
        try:
            while transfer.offset < size:
                if transfer.generation != self._generation:
                    transfer.generation, asked = self._generation, transfer.offset
                while asked < size and asked - transfer.offset < WINDOW_BYTES:
                    length = min(WINDOW_BYTES // 2, size - asked)
                    await self._send(Kind.BLOB_GET, pack_chunk(BlobChunk(blob_id, asked, length)))
                    asked += length
                await self._progressed(transfer, progress)
        finally:
            del self._transfers[blob_id]
            if transfer.target is not None:
                transfer.target.release()
        await self._send(Kind.BLOB_DROP, pack_chunk(BlobChunk(blob_id, 0, 0)))
        return data

    async def drop(self, blob_id: bytes) -> None:
        await self._send(Kind.BLOB_DROP, pack_chunk(BlobChunk(blob_id, 0, 0)))

    def received(self, kind: Kind, payload: Part) -> None:
        """A blob envelope came from the agent."""
        chunk = unpack_chunk(payload)
        transfer = self._transfers.get(chunk.blob_id)
        if transfer is None:
            return
        if kind is Kind.BLOB_FAILED:
            transfer.error = ValueTransferError(bytes(chunk.data).decode("utf-8", "replace"))
        elif kind is Kind.BLOB_STORED:
            transfer.offset = max(transfer.offset, chunk.offset)
        elif transfer.target is not None and chunk.offset == transfer.offset:
            end = chunk.offset + len(chunk.data)
            transfer.target[chunk.offset : end] = chunk.data
            transfer.offset = end
        transfer.moved.set()

    def reconnected(self) -> None:
        """What was under way may be lost: every transfer goes on from where the other side is."""
        self._generation += 1
        for transfer in self._transfers.values():
            transfer.moved.set()

    def abandon(self, error: Exception) -> None:
        for transfer in self._transfers.values():
            transfer.error = error
            transfer.moved.set()

    def _begin(self, blob_id: bytes, size: int, target: memoryview | None) -> _Transfer:
        transfer = self._transfers[blob_id] = _Transfer(size, target, generation=self._generation)
        return transfer

    async def _progressed(self, transfer: _Transfer, progress: Progress) -> None:
        if transfer.error is None and transfer.generation == self._generation and transfer.offset < transfer.size:
            transfer.moved.clear()
            await transfer.moved.wait()
        if transfer.error is not None:
            raise transfer.error
        progress(transfer.offset - transfer.reported)
        transfer.reported = transfer.offset
