"""The framing of old clients, against jupyter_server's own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.kernels.connection.base import deserialize_binary_message, serialize_binary_message
from perijove.broker.doors.legacy_frames import from_legacy, to_legacy
from perijove.wire.jupyter_frames import JupyterFrame, MalformedFrame

HEADER = {"msg_id": "m", "msg_type": "comm_msg", "session": "s", "username": "", "date": "2026-11-24T00:00:00Z"}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)


def frame_of(content: dict, buffers: list[bytes], channel: str = "shell") -> JupyterFrame:
    parts = [
        json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass") for part in (HEADER, {}, {}, content)
    ]
    return JupyterFrame(channel, *parts, tuple(buffers))


@given(content=OBJECTS, buffers=st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_jupyter_server_reads_what_we_write(content: dict, buffers: list[bytes]) -> None:
    content = json.loads(json.dumps(content).encode("utf-8", "replace"))
    message = deserialize_binary_message(to_legacy(frame_of(content, buffers, "iopub")))
    assert message["channel"] == "iopub"
    assert message["content"] == content
    assert [bytes(buffer) for buffer in message["buffers"]] == buffers
    assert (message["msg_id"], message["msg_type"]) == ("m", "comm_msg")


@given(content=OBJECTS, buffers=st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_we_read_what_jupyter_server_writes(content: dict, buffers: list[bytes]) -> None:
    message = {"channel": "shell", "header": HEADER, "parent_header": {}, "metadata": {}, "content": content}
    frame = from_legacy(serialize_binary_message({**message, "buffers": buffers}))
    assert frame.channel == "shell"
    assert json.loads(frame.content) == content
    assert [bytes(buffer) for buffer in frame.buffers] == buffers


def test_without_buffers_a_message_is_text() -> None:
    text = to_legacy(frame_of({"code": "ü"}, []))
    assert isinstance(text, str)
    assert json.loads(text)["content"] == {"code": "ü"}
    assert from_legacy(text).parts[3] == b'{"code":"\xc3\xbc"}'


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "no json",
        '{"channel": 5}',
        b"",
        b"\0\0\0",
        b"\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\0\0\0\0",
        b"\0\0\0\1\0\0\0\7{}",
        b"\0\0\0\2\0\0\0\x0c\0\0\0\x0b{}",
    ],
)
def test_what_is_no_message_is_refused(message: str | bytes) -> None:
    with pytest.raises(MalformedFrame):
        from_legacy(message)
