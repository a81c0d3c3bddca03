"""A Jupyter message as one binary frame: the subprotocol ``v1.kernel.websocket.jupyter.org``.

Layout, little-endian u64 (source: jupyter_server's ``serialize_msg_to_ws_v1``)::

    N | offset[0] … offset[N-1] | channel | header | parent_header | metadata | content | buffer …

There are N offsets for N - 1 parts; ``offset[0] = 8 (N + 1)`` and the last one is the frame's length. Frames carry no
signature: that belongs to each ZeroMQ end. Nothing here parses JSON, so relaying never re-encodes a message.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import PerijoveError

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"
_U64 = struct.Struct("<Q")
_FIXED_PARTS = 5  # channel, header, parent header, metadata, content
MAX_BUFFERS = 100_000

Part = bytes | bytearray | memoryview


class MalformedFrame(PerijoveError):
    code = "malformed_frame"


@dataclass(frozen=True, slots=True)
class JupyterFrame:
    """One Jupyter message, its four dictionaries still in JSON bytes."""

    channel: str
    header: Part
    parent_header: Part
    metadata: Part
    content: Part
    buffers: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that ZeroMQ carries behind the signature."""
        return (self.header, self.parent_header, self.metadata, self.content, *self.buffers)


def encode_frame(channel: str, parts: Sequence[Part]) -> bytes:
    """Frame ``header, parent_header, metadata, content, *buffers`` for ``channel``."""
    pieces: list[Part] = [channel.encode("ascii"), *parts]
    offsets = [8 * (len(pieces) + 2)]
    for piece in pieces:
        offsets.append(offsets[-1] + (piece.nbytes if isinstance(piece, memoryview) else len(piece)))
    return b"".join([struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets), *pieces])


def decode_frame(frame: Part) -> JupyterFrame:
    """Take a frame apart without copying its buffers.

    Raises:
        MalformedFrame: when the offsets do not describe the bytes that are there.
    """
    view = memoryview(frame)
    if view.nbytes < 8:
        raise MalformedFrame(f"a frame of {view.nbytes} bytes is too short to be a Jupyter message")
    (n_offsets,) = _U64.unpack_from(view)
    if not _FIXED_PARTS + 1 <= n_offsets <= MAX_BUFFERS + _FIXED_PARTS + 1 or 8 * (n_offsets + 1) > view.nbytes:
        raise MalformedFrame(f"a frame of {view.nbytes} bytes cannot have {n_offsets} offsets")
    offsets = struct.unpack_from(f"<{n_offsets}Q", view, 8)
    if (
        offsets[0] != 8 * (n_offsets + 1)
        or offsets[-1] != view.nbytes
        or any(a > b for a, b in itertools.pairwise(offsets))
    ):
        raise MalformedFrame("the offsets of a frame do not describe its bytes")
    pieces = [view[start:end] for start, end in itertools.pairwise(offsets)]
    try:
        channel = bytes(pieces[0]).decode("ascii")
    except UnicodeDecodeError:
        raise MalformedFrame("a frame names no channel") from None
    header, parent_header, metadata, content = (bytes(piece) for piece in pieces[1:_FIXED_PARTS])
    return JupyterFrame(channel, header, parent_header, metadata, content, tuple(pieces[_FIXED_PARTS:]))
