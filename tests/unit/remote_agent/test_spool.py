"""The spool keeps everything in order until it is acknowledged, whatever is on disk, in memory, or under way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perijove.remote_agent import overflow, spool
from perijove.remote_agent.overflow import DiskFull, Overflow, Piece
from perijove.remote_agent.spool import Spool


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of a few bytes, so that few messages reach every part of the spool."""
    monkeypatch.setattr(spool, "WINDOW_BYTES", 40)
    monkeypatch.setattr(spool, "MEMORY_BYTES", 60)
    monkeypatch.setattr(spool, "WITHOUT_DISK_BYTES", 50)
    monkeypatch.setattr(overflow, "_SEGMENT_BYTES", 80)
    monkeypatch.setattr("perijove.wire.replay.CHUNK_BYTES", 16)


def received(one: Spool) -> list[tuple[int, bytes]]:
    pieces = []
    while (piece := one.next()) is not None:
        pieces.append((piece.seq, bytes(piece.payload)))
    return pieces


def test_a_frame_travels_in_numbered_pieces(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 10_000)
    one.append(b"a" * 20)
    one.append(b"b")
    first, second, third = one.next(), one.next(), one.next()
    assert [(p.seq, p.more) for p in (first, second, third) if p] == [(1, True), (2, False), (3, False)]


def test_the_window_holds_back_what_is_not_acknowledged(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 10_000)
    for _ in range(10):
        one.append(b"x" * 10)
    assert [seq for seq, _ in received(one)] == [1, 2, 3, 4]
    one.acknowledge(2)
    assert [seq for seq, _ in received(one)] == [5, 6]


def test_a_rewind_sends_again_what_was_under_way(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 10_000)
    for _ in range(6):
        one.append(b"x" * 10)
    received(one)
    one.acknowledge(1)
    one.rewind(2)
    assert one.first_seq == 3
    assert [seq for seq, _ in received(one)] == [3, 4, 5, 6]


def test_a_new_client_gets_whole_frames_only(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 10_000)
    one.append(b"a" * 30)  # two pieces
    one.append(b"b")
    received(one)
    one.acknowledge(1)  # half of the first frame
    assert one.first_seq == 1
    one.rewind(0)
    assert [seq for seq, _ in received(one)] == [1, 2, 3]
    one.acknowledge(2)
    assert one.first_seq == 3


def test_an_ack_of_what_was_never_sent_is_not_believed(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 10_000)
    one.append(b"a")
    one.acknowledge(99)
    assert received(one) == [(1, b"a")]


def test_it_is_full_at_its_limit_and_has_room_again(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 100)
    while not one.full:
        one.append(b"x" * 10)
    assert one.last_seq == 10
    received(one)
    one.acknowledge(4)
    assert not one.full


def test_a_full_disk_loses_nothing_and_says_that_it_is_full(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Overflow(tmp_path / "o")
    one = Spool(disk, 10_000)
    for i in range(8):
        one.append(b"%d" % i * 10)

    def refuse(piece: Piece) -> None:
        raise DiskFull("no space")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "push", refuse)
        for i in range(8, 13):
            one.append(b"%x" % i * 10)
        assert one.full
    everything = []
    for _ in range(10):
        everything += received(one)
        one.acknowledge(everything[-1][0])
    assert everything == [(i + 1, b"%x" % i * 10) for i in range(13)]
    assert not one.full


def test_a_short_write_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Overflow(tmp_path / "o")
    disk.push(Piece(1, b"first", False))

    class Writer:
        def seek(self, position: int) -> None: ...
        def write(self, record: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "_writer_for", lambda piece: Writer())
    with pytest.raises(DiskFull):
        disk.push(Piece(2, b"second", False))
    monkeypatch.undo()
    disk.push(Piece(2, b"again", False))
    assert [(p.seq, bytes(p.payload)) for p in disk.pull()] == [(1, b"first"), (2, b"again")]


def test_closing_leaves_no_files(tmp_path: Path, small: None) -> None:
    one = Spool(Overflow(tmp_path / "o"), 10_000)
    for _ in range(50):
        one.append(b"x" * 10)
    assert list(tmp_path.rglob("*.spool"))
    one.close()
    assert list(tmp_path.iterdir()) == []


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 40)),
            st.tuples(st.just("send"), st.integers(1, 5)),
            st.tuples(st.just("ack"), st.integers(0, 3)),
            st.tuples(st.just("reconnect"), st.just(0)),
        ),
        max_size=80,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_client_gets_every_message_in_order_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, small: None, steps: list[tuple[str, int]]
) -> None:
    one = Spool(Overflow(tmp_path_factory.mktemp("spool") / "o"), 100_000)
    sent: list[bytes] = []
    got: list[bytes] = []
    last = 0
    partial = b""

    def take(limit: int) -> None:
        nonlocal last, partial
        for _ in range(limit):
            piece = one.next()
            if piece is None:
                return
            if piece.seq <= last:
                continue
            assert piece.seq == last + 1
            last = piece.seq
            partial += bytes(piece.payload)
            if not piece.more:
                got.append(partial)
                partial = b""

    for step, number in steps:
        match step:
            case "append":
                frame = bytes([len(sent) % 256]) * (number + 1)
                sent.append(frame)
                one.append(frame)
            case "send":
                take(number)
            case "ack":
                one.acknowledge(max(0, last - number))
            case "reconnect":
                one.rewind(last)
    for _ in range(200):
        take(100)
        one.acknowledge(last)
    assert got == sent
    one.close()
