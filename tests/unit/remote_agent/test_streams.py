"""docs/protocol.md §2, the agent's end."""

from __future__ import annotations

from pathlib import Path

import pytest
from perijove.remote_agent.overflow import Overflow
from perijove.remote_agent.spool import Spool
from perijove.remote_agent.streams import KernelStreams
from perijove.wire.envelope import KERNEL_STREAM, Envelope, Kind, unpack

ME = b"i" * 16
SHELL, CONTROL, OTHER_SHELL, OTHER_CONTROL = (bytes([n]) * 8 for n in range(1, 5))


@pytest.fixture
def streams(tmp_path: Path) -> KernelStreams:
    streams = KernelStreams(ME, Spool(Overflow(tmp_path / "o"), 1 << 20))
    streams.accept()
    return streams


def sent(streams: KernelStreams) -> list[tuple[Kind, int, int]]:
    """(kind, seq, ack) of all that goes out now."""
    out = []
    while (message := streams.next_message()) is not None:
        envelope = unpack(message)
        out.append((envelope.kind, envelope.seq, envelope.ack))
    return out


def data(stream: bytes, seq: int, payload: bytes = b"x", ack: int = 0) -> Envelope:
    return Envelope(Kind.DATA, stream, ME, seq, ack, 0, payload)


def resume(stream: bytes, ack: int) -> Envelope:
    return Envelope(Kind.RESUME, stream, ME, ack=ack)


def test_what_the_kernel_emits_is_numbered_in_its_own_stream(streams: KernelStreams) -> None:
    streams.spool.append(b"one")
    message = streams.next_message()
    assert message is not None
    envelope = unpack(message)
    assert (envelope.stream, envelope.seq, bytes(envelope.payload)) == (KERNEL_STREAM, 1, b"one")


def test_a_message_is_handed_on_once(streams: KernelStreams) -> None:
    assert streams.receive(data(SHELL, 1)) == (b"x", SHELL, 1)
    assert streams.receive(data(SHELL, 1)) is None
    assert streams.receive(data(CONTROL, 1)) == (b"x", CONTROL, 1)  # another stream counts for itself


def test_acknowledgements_are_owed_and_paid(streams: KernelStreams) -> None:
    streams.receive(data(SHELL, 1))
    assert sent(streams) == []
    streams.acknowledge_all()
    assert sent(streams) == [(Kind.ACK, 0, 1)]
    streams.acknowledge_all()
    assert sent(streams) == []


def test_much_data_is_acknowledged_at_once(streams: KernelStreams) -> None:
    streams.receive(data(SHELL, 1, b"x" * (256 << 10)))
    assert sent(streams) == [(Kind.ACK, 0, 1)]


def test_a_gap_is_answered_once_with_what_is_there(streams: KernelStreams) -> None:
    streams.receive(data(SHELL, 1))
    assert streams.receive(data(SHELL, 3)) is None
    assert streams.receive(data(SHELL, 4)) is None
    assert sent(streams) == [(Kind.RESUMED, 1, 1)]
    assert streams.receive(data(SHELL, 2)) == (b"x", SHELL, 2)


def test_the_two_streams_of_a_client_do_not_make_everything_travel_twice(streams: KernelStreams) -> None:
    for _ in range(3):
        streams.spool.append(b"m")
    sent(streams)
    streams.receive(resume(CONTROL, 1))
    assert sent(streams) == [(Kind.RESUMED, 2, 0), (Kind.DATA, 2, 0), (Kind.DATA, 3, 0)]
    streams.receive(resume(SHELL, 1))
    assert sent(streams) == [(Kind.RESUMED, 2, 0)]


def test_each_reconnection_rewinds_again(streams: KernelStreams) -> None:
    streams.spool.append(b"m")
    for _ in range(3):
        sent(streams)
        streams.receive(resume(CONTROL, 0))
        streams.receive(resume(SHELL, 0))
        assert (Kind.DATA, 1, 0) in sent(streams)


def test_a_client_that_takes_over_gets_what_the_other_had_not_acknowledged(streams: KernelStreams) -> None:
    streams.receive(resume(CONTROL, 0))
    streams.receive(resume(SHELL, 0))
    streams.spool.append(b"m")
    sent(streams)
    streams.receive(resume(OTHER_CONTROL, 0))
    streams.receive(resume(OTHER_SHELL, 0))
    assert sent(streams).count((Kind.DATA, 1, 0)) == 1


def test_a_torn_pair_of_resumes_is_repaired_by_the_next(streams: KernelStreams) -> None:
    streams.spool.append(b"m")
    streams.receive(resume(CONTROL, 0))
    sent(streams)  # lost with the connection, before the sibling came
    streams.receive(resume(OTHER_CONTROL, 0))
    streams.receive(resume(OTHER_SHELL, 0))
    assert (Kind.DATA, 1, 0) in sent(streams)


def test_a_new_data_link_tells_each_client_where_it_is(streams: KernelStreams) -> None:
    streams.receive(data(SHELL, 1))
    streams.spool.append(b"m")
    sent(streams)
    streams.reopened()
    assert sent(streams) == [(Kind.RESUMED, 1, 1), (Kind.DATA, 1, 0)]


def test_a_cell_that_crosses_a_release_stays_with_the_client(streams: KernelStreams) -> None:
    streams.receive(data(SHELL, 1))
    streams.stop_accepting()
    assert streams.receive(data(SHELL, 2)) is None
    streams.accept()
    assert sent(streams)[-1] == (Kind.RESUMED, 1, 1)  # so the client sends 2 again
    assert streams.receive(data(SHELL, 2)) == (b"x", SHELL, 2)


def test_a_message_that_was_turned_away_is_noted_so_that_the_client_is_made_to_resume(streams: KernelStreams) -> None:
    streams.stop_accepting()
    assert not streams.turned_away
    streams.receive(resume(SHELL, 0))
    assert not streams.turned_away
    streams.receive(data(SHELL, 1))
    assert streams.turned_away
