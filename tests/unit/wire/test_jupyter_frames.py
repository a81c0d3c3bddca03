"""The v1 subprotocol: our frames are the ones that jupyter_server reads and writes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.wire.jupyter_frames import MalformedFrame, decode_frame, encode_frame

parts = st.lists(st.binary(max_size=50), min_size=4, max_size=9)


@given(st.sampled_from(["shell", "iopub", "stdin", "control"]), parts)
def test_what_is_encoded_is_decoded(channel, parts):
    frame = decode_frame(encode_frame(channel, parts))
    assert frame.channel == channel
    assert [bytes(part) for part in frame.parts] == parts


@given(parts)
def test_jupyter_server_reads_our_frames_and_we_read_its(parts):
    base = pytest.importorskip("jupyter_server.services.kernels.connection.base")
    ours = encode_frame("iopub", parts)
    channel, theirs = base.deserialize_msg_from_ws_v1(ours)
    assert (channel, [bytes(part) for part in theirs]) == ("iopub", parts)

    written = base.serialize_msg_to_ws_v1(parts, "iopub")
    assert written == ours


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read_but_never_crash(data):
    with contextlib.suppress(MalformedFrame):
        decode_frame(data)


@given(parts, st.integers(min_value=0, max_value=60), st.integers(min_value=0, max_value=255))
def test_a_damaged_frame_is_refused_or_read_but_never_crashes(parts, position, value):
    frame = bytearray(encode_frame("shell", parts))
    frame[position % len(frame)] = value
    with contextlib.suppress(MalformedFrame):
        decode_frame(frame)
