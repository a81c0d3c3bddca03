"""Jupyter messages on a WebSocket without a subprotocol: JSON, or a binary frame where there are buffers.

Layout of the binary one, big-endian u32: ``n | offset[0] … offset[n-1] | JSON | buffer …``; ``n`` counts the JSON.
Source: jupyter_server's ``serialize_binary_message``. The four dictionaries are not parsed here, only stitched.
"""

from __future__ import annotations

import itertools
import json
import struct

from ...wire.front.messages import packed
from ...wire.jupyter_frames import MAX_BUFFERS, JupyterFrame, MalformedFrame, Part

_PARTS = ("header", "parent_header", "metadata", "content")


def to_legacy(frame: JupyterFrame) -> str | bytes:
    """A message as an old client reads it."""
    header = bytes(frame.header)
    ids = json.loads(header)
    text = b"".join(
        (
            b'{"channel": ',
            json.dumps(frame.channel).encode(),
            b', "header": ',
            header,
            b', "parent_header": ',
            bytes(frame.parent_header),
            b', "metadata": ',
            bytes(frame.metadata),
            b', "content": ',
            bytes(frame.content),
            b', "msg_id": ',
            json.dumps(ids.get("msg_id", "")).encode(),
            b', "msg_type": ',
            json.dumps(ids.get("msg_type", "")).encode(),
            b', "buffers": []}',
        )
    )
    if not frame.buffers:
        return text.decode("utf-8", "replace")
    pieces: list[Part] = [text, *frame.buffers]
    sizes = [piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in pieces]
    offsets = list(itertools.accumulate(sizes[:-1], initial=4 * (len(pieces) + 1)))
    return b"".join([struct.pack(f"!{len(pieces) + 1}I", len(pieces), *offsets), *pieces])


def from_legacy(message: str | bytes) -> JupyterFrame:
    """
    Raises:
        MalformedFrame: when it is none.
    """
    buffers: tuple[Part, ...] = ()
    text: str | bytes = message
    if isinstance(message, bytes):
        text, buffers = _taken_apart(message)
    try:
        document = json.loads(text)
        channel = document.get("channel") or "shell"
        header, parent, metadata, content = (packed(document.get(name) or {}) for name in _PARTS)
    except (ValueError, AttributeError, RecursionError) as error:
        raise MalformedFrame(f"a message is no JSON object: {error}") from None
    if not isinstance(channel, str) or not channel.isascii():
        raise MalformedFrame("a message names no channel")
    return JupyterFrame(channel, header, parent, metadata, content, buffers)


def _taken_apart(message: bytes) -> tuple[bytes, tuple[Part, ...]]:
    view = memoryview(message)
    if view.nbytes < 8:
        raise MalformedFrame(f"a binary message of {view.nbytes} bytes is too short")
    (number,) = struct.unpack_from("!I", view)
    if not 1 <= number <= MAX_BUFFERS or 4 * (number + 1) > view.nbytes:
        raise MalformedFrame(f"a binary message of {view.nbytes} bytes cannot have {number} parts")
    offsets = [*struct.unpack_from(f"!{number}I", view, 4), view.nbytes]
    if offsets[0] != 4 * (number + 1) or any(a > b for a, b in itertools.pairwise(offsets)):
        raise MalformedFrame("the offsets of a binary message do not describe its bytes")
    pieces = [view[start:end] for start, end in itertools.pairwise(offsets)]
    return bytes(pieces[0]), tuple(pieces[1:])
