"""Buffers too large for a message, as files that agent and kernel share (docs/protocol.md §4).

What arrives is mapped privately: writable, in memory once, gone with its last user. What leaves is written to a file
whose name the message announces; the agent serves it until the client drops it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...wire.blobs import BLOB_ID_BYTES
from ...wire.errors import CannotTravel, StateLost
from ...wire.values.parcel import Buffer

INLINE_BYTES = 1 << 20
_WRITE_BYTES = 8 << 20  # between two writes an interrupt gets through


class LargeBuffers:
    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def receive(self, descriptions: Sequence[dict[str, Any]], inline: Sequence[Any]) -> list[Buffer]:
        """The buffers of a message, in order: its own ones copied (they are small), the others mapped.

        Raises:
            StateLost: when a file is not there: the transfer was cut short, or its kernel has ended.
        """
        own = iter(inline)
        if not descriptions:
            return [bytearray(buffer) for buffer in own]
        return [
            bytearray(next(own)) if description.get("inline") else self._map(description["blob"], description["size"])
            for description in descriptions
        ]

    def send(self, buffers: Sequence[Buffer]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Descriptions for a message's metadata, and the buffers it carries itself.

        Raises:
            CannotTravel: when there is no room for a large one.
        """
        descriptions: list[dict[str, Any]] = []
        inline: list[bytes] = []
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            if view.nbytes <= INLINE_BYTES or self._directory is None:
                descriptions.append({"inline": True})
                inline.append(bytes(view))  # a copy: sending is asynchronous and the user may change the array
            else:
                descriptions.append({"blob": self._write(view), "size": view.nbytes})
        return descriptions, inline

    def _map(self, blob_id: str, size: int) -> Buffer:
        if self._directory is None or len(bytes.fromhex(blob_id)) != BLOB_ID_BYTES:
            raise StateLost(f"the buffer {blob_id} cannot be found on the agent; run the cell again")
        path = self._directory / blob_id
        try:
            with path.open("r+b") as file:
                if os.fstat(file.fileno()).st_size != size:
                    raise StateLost(f"only a part of a value of {size} bytes has arrived; run the cell again")
                mapped = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except FileNotFoundError:
            raise StateLost(f"a value of {size} bytes has not arrived on the agent; run the cell again") from None
        path.unlink()
        return memoryview(mapped)

    def _write(self, view: memoryview) -> str:
        assert self._directory is not None
        blob_id = secrets.token_hex(BLOB_ID_BYTES)
        path = self._directory / f"{blob_id}.new"
        try:
            with path.open("xb", buffering=0) as file:
                if hasattr(os, "posix_fallocate"):  # so that a disk that is too small says so at once
                    os.posix_fallocate(file.fileno(), 0, view.nbytes)
                position = 0
                while position < view.nbytes:
                    position += file.write(view[position : position + _WRITE_BYTES])
            path.rename(self._directory / blob_id)
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            if isinstance(error, OSError):
                raise CannotTravel(
                    f"a value of {view.nbytes >> 20} MiB cannot be brought back: {error.strerror} on the agent; "
                    "leave it there with --keep, or make it smaller"
                ) from error
            raise
        return blob_id
