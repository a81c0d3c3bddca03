"""docs/protocol.md §2: whatever a link drops, each frame arrives once, whole and in order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perijove.wire.envelope import CHUNK_BYTES
from perijove.wire.replay import GapInStream, Inbox, Outbox

frames = st.lists(st.binary(max_size=20), max_size=30)


@settings(max_examples=200)
@given(frames, st.lists(st.integers(min_value=0, max_value=40), max_size=12))
def test_reconnections_lose_and_repeat_nothing(frames, cuts):
    """The connection breaks after some messages each time; the sender starts again from what is unacknowledged."""
    outbox, inbox, arrived = Outbox(), Inbox(), []
    for frame in frames:
        outbox.add(frame)
    for cut in [*cuts, 10**9]:
        outbox.acknowledge(inbox.last_seq if cut % 2 else max(0, inbox.last_seq - 2))
        for seq, piece, more in outbox.unacknowledged()[:cut]:
            if (frame := inbox.receive(seq, piece, more)) is not None:
                arrived.append(bytes(frame))
    assert arrived == frames


def test_a_large_frame_travels_in_pieces_and_arrives_whole():
    frame = bytes(range(256)) * (CHUNK_BYTES // 256) + b"end"
    pieces = Outbox().add(frame)
    assert [len(piece) for _, piece, _ in pieces] == [CHUNK_BYTES, 3]
    inbox = Inbox()
    arrived = [inbox.receive(*piece) for piece in pieces]
    assert arrived[0] is None
    assert arrived[1] == frame


def test_a_frame_of_exactly_one_chunk_is_one_piece():
    assert len(Outbox().add(bytes(CHUNK_BYTES))) == 1


def test_a_gap_is_refused_not_skipped():
    inbox = Inbox()
    inbox.receive(1, b"a", False)
    with pytest.raises(GapInStream, match="message 2 of the stream is missing, 3 came instead"):
        inbox.receive(3, b"c", False)


def test_a_declared_gap_is_counted_and_drops_the_torn_frame():
    inbox = Inbox()
    inbox.receive(1, b"torn", True)
    assert inbox.skip_to(5) == 3
    assert inbox.receive(5, b"next", False) == b"next"
    assert inbox.skip_to(2) == 0
