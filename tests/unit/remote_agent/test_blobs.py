"""docs/protocol.md §4, the agent's end: chunks are idempotent, ranges are answered, trouble is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from perijove.remote_agent.blobs import Blobs
from perijove.wire.blobs import BlobChunk, pack_chunk, unpack_chunk
from perijove.wire.envelope import CHUNK_BYTES, Envelope, Kind, unpack

ME, STREAM, BLOB = b"i" * 16, b"s" * 8, b"b" * 16


class Link:
    """Collects what would be sent, in order."""

    def __init__(self, directory: Path) -> None:
        self._waiting: list[Callable[[], bytes]] = []
        self.blobs = Blobs(directory, ME, self._waiting.append)

    def ask(self, kind: Kind, offset: int, size: int, data: bytes = b"") -> list[tuple[Kind, BlobChunk]]:
        self.blobs.receive(Envelope(kind, STREAM, ME, payload=pack_chunk(BlobChunk(BLOB, offset, size, data))))
        answers = [unpack(make()) for make in self._waiting]
        self._waiting.clear()
        assert all(answer.stream == STREAM for answer in answers)
        return [(answer.kind, unpack_chunk(answer.payload)) for answer in answers]

    def put(self, offset: int, size: int, data: bytes) -> int:
        ((kind, chunk),) = self.ask(Kind.BLOB_PUT, offset, size, data)
        assert kind is Kind.BLOB_STORED
        return chunk.offset


@pytest.fixture
def link(tmp_path: Path) -> Link:
    return Link(tmp_path)


def test_a_blob_appears_when_its_last_chunk_is_stored(link: Link, tmp_path: Path) -> None:
    assert link.put(0, 6, b"abc") == 3
    assert not (tmp_path / BLOB.hex()).exists()
    assert link.put(3, 6, b"def") == 6
    assert (tmp_path / BLOB.hex()).read_bytes() == b"abcdef"


def test_chunks_may_repeat_and_a_gap_stores_nothing(link: Link, tmp_path: Path) -> None:
    assert link.put(3, 6, b"def") == 0
    assert link.put(0, 6, b"abc") == 3
    assert link.put(0, 6, b"abc") == 3
    assert link.put(3, 6, b"def") == 6


def test_a_blob_that_the_kernel_has_taken_is_not_stored_again(link: Link, tmp_path: Path) -> None:
    link.put(0, 3, b"abc")
    (tmp_path / BLOB.hex()).unlink()
    assert link.put(0, 3, b"abc") == 3
    assert list(tmp_path.iterdir()) == []


def test_an_empty_blob_is_a_blob(link: Link, tmp_path: Path) -> None:
    assert link.put(0, 0, b"") == 0
    assert (tmp_path / BLOB.hex()).read_bytes() == b""


def test_a_range_comes_in_chunks(link: Link, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB
    (tmp_path / BLOB.hex()).write_bytes(data)
    answers = link.ask(Kind.BLOB_GET, 5, CHUNK_BYTES + 10)
    assert [(kind, chunk.offset, len(chunk.data), chunk.size) for kind, chunk in answers] == [
        (Kind.BLOB_DATA, 5, CHUNK_BYTES, len(data)),
        (Kind.BLOB_DATA, 5 + CHUNK_BYTES, 10, len(data)),
    ]
    assert b"".join(bytes(chunk.data) for _, chunk in answers) == data[5 : CHUNK_BYTES + 15]


def test_a_range_beyond_the_end_is_cut(link: Link, tmp_path: Path) -> None:
    (tmp_path / BLOB.hex()).write_bytes(b"abc")
    ((_, chunk),) = link.ask(Kind.BLOB_GET, 1, 100)
    assert bytes(chunk.data) == b"bc"


def test_a_dropped_blob_is_gone_and_that_is_said(link: Link, tmp_path: Path) -> None:
    link.put(0, 3, b"abc")
    assert link.ask(Kind.BLOB_DROP, 0, 0) == []
    ((kind, chunk),) = link.ask(Kind.BLOB_GET, 0, 3)
    assert kind is Kind.BLOB_FAILED
    assert b"run the cell again" in bytes(chunk.data)


def test_no_room_is_said_with_the_first_chunk(link: Link, tmp_path: Path) -> None:
    ((kind, chunk),) = link.ask(Kind.BLOB_PUT, 0, 1 << 60, b"abc")
    assert kind is Kind.BLOB_FAILED
    assert b"no room" in bytes(chunk.data)
    assert list(tmp_path.iterdir()) == []
