"""A first-in, first-out queue on disk, for the part of a spool that memory should not hold.

It is written and read in segments of a few MiB; a segment that was read is deleted. It needs no index, because a
spool is only ever read in order, and no recovery, because a kernel's messages end with its agent.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from ..wire.jupyter_frames import Part

_RECORD = struct.Struct("<QIB")
_SEGMENT_BYTES = 4 << 20


class Piece(NamedTuple):
    """One numbered piece of a frame; ``more``: the frame goes on in the next one."""

    seq: int
    payload: Part
    more: bool

    @property
    def size(self) -> int:
        return len(self.payload)  # payloads are bytes or views of bytes


@dataclass(slots=True)
class _Segment:
    path: Path
    size: int = 0


class DiskFull(Exception):
    """The disk takes no more; nothing of the piece was kept."""


class Overflow:
    """``directory`` is made on first use and belongs to this queue."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segments: deque[_Segment] = deque()
        self._writer: FileIO | None = None
        self._next_segment = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._segments)

    def push(self, piece: Piece) -> None:
        """Raises DiskFull when the piece could not be written."""
        try:
            writer = self._writer_for(piece)
            segment = self._segments[-1]
            record = b"".join((_RECORD.pack(piece.seq, piece.size, piece.more), piece.payload))
            writer.seek(segment.size)
            written = writer.write(record)
        except OSError as error:
            raise DiskFull(str(error)) from error
        if written != len(record):  # an unbuffered write stops short when the disk is full
            raise DiskFull("the disk is full")
        segment.size += written
        self.size_bytes += piece.size

    def pull(self) -> list[Piece]:
        """The pieces of the oldest segment, which is deleted; empty when the queue is."""
        if not self._segments:
            return []
        segment = self._segments.popleft()
        if not self._segments:
            self._close_writer()
        content = segment.path.read_bytes()[: segment.size]
        segment.path.unlink()
        pieces = list(_records(content))
        self.size_bytes -= sum(piece.size for piece in pieces)
        return pieces

    def close(self) -> None:
        """Delete everything."""
        self._close_writer()
        while self._segments:
            self._segments.popleft().path.unlink(missing_ok=True)
        self.size_bytes = 0
        if self._directory.is_dir():
            self._directory.rmdir()

    def _writer_for(self, piece: Piece) -> FileIO:
        if self._writer is not None and self._segments[-1].size + piece.size <= _SEGMENT_BYTES:
            return self._writer
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{self._next_segment}.spool"
        writer = path.open("wb", buffering=0)
        self._close_writer()
        self._next_segment += 1
        self._segments.append(_Segment(path))
        self._writer = writer
        return writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _records(content: bytes) -> list[Piece]:
    pieces = []
    view = memoryview(content)
    position = 0
    while position < len(content):
        seq, size, more = _RECORD.unpack_from(view, position)
        start = position + _RECORD.size
        pieces.append(Piece(seq, view[start : start + size], bool(more)))
        position = start + size
    return pieces
