"""docs/protocol.md §2: the header round every binary message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.wire import envelope
from perijove.wire.blobs import BlobChunk, pack_chunk, unpack_chunk
from perijove.wire.envelope import Envelope, Kind
from perijove.wire.errors import IncompatibleVersion
from perijove.wire.jupyter_frames import MalformedFrame

u64 = st.integers(min_value=0, max_value=2**64 - 1)


@given(
    st.sampled_from(Kind), st.binary(min_size=8, max_size=8), st.binary(min_size=16, max_size=16), u64, u64, st.binary()
)
def test_what_is_packed_is_unpacked(kind, stream, incarnation, seq, ack, payload):
    message = envelope.pack(Envelope(kind, stream, incarnation, seq, ack, envelope.MORE, payload))
    read = envelope.unpack(message)
    assert (read.kind, read.stream, read.incarnation, read.seq, read.ack) == (kind, stream, incarnation, seq, ack)
    assert bytes(read.payload) == payload
    assert read.more
    assert envelope.incarnation_of(message) == incarnation


def test_another_version_is_refused_with_both_versions_named():
    message = bytearray(envelope.pack(Envelope(Kind.ACK, bytes(8), bytes(16))))
    message[0] = 9
    with pytest.raises(IncompatibleVersion, match=r"format 9.*format 1"):
        envelope.unpack(message)


@pytest.mark.parametrize("message", [b"", b"\1", bytes([1, 200]) + bytes(42)])
def test_what_is_no_envelope_is_refused(message):
    with pytest.raises(MalformedFrame):
        envelope.unpack(message)


@given(st.binary(min_size=16, max_size=16), u64, u64, st.binary())
def test_chunks_of_blobs(blob_id, offset, size, data):
    chunk = unpack_chunk(pack_chunk(BlobChunk(blob_id, offset, size, data)))
    assert (chunk.blob_id, chunk.offset, chunk.size, bytes(chunk.data)) == (blob_id, offset, size, data)
