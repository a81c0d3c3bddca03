"""The envelope round every binary message between client and agent; the broker reads nothing but its header.

Layout, little-endian, 44 bytes, then the payload::

    version u8 | kind u8 | flags u16 | stream 8 bytes | incarnation 16 bytes | seq u64 | ack u64

``incarnation`` names the kernel process that the message is for or from. ``seq`` numbers the DATA of one stream from 1;
``ack`` is cumulative: all DATA of the opposite direction up to it has arrived. A Jupyter frame larger than
:data:`CHUNK_BYTES` travels as several DATA messages, all but the last flagged :data:`MORE`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from .errors import IncompatibleVersion
from .jupyter_frames import MalformedFrame, Part

VERSION = 1
CHUNK_BYTES = 1 << 20
MAX_MESSAGE_BYTES = CHUNK_BYTES + 4096
MORE = 1
KERNEL_STREAM = b"\0" * 8  # what a kernel emits is one stream for all its clients

_HEADER = struct.Struct("<BBH8s16sQQ")
HEADER_BYTES = _HEADER.size


class Kind(IntEnum):
    """What an envelope carries. The payloads of the blob kinds are described in :mod:`perijove.wire.blobs`."""

    DATA = 1  # (a piece of) a Jupyter frame, numbered
    ACK = 2  # nothing but the ack
    RESUME = 3  # client → agent on each connection: ``ack`` is the last seq seen of the kernel's stream
    RESUMED = (
        4  # agent → client, the answer: ``ack`` of the client's stream, ``seq`` the first one the agent can still send
    )
    BLOB_PUT = 5  # client → agent: one chunk of a large buffer
    BLOB_STORED = 6  # agent → client: so many bytes of a blob are stored
    BLOB_GET = 7  # client → agent: send me a range of a blob
    BLOB_DATA = 8  # agent → client: one chunk of it
    BLOB_FAILED = 9  # agent → client: why a blob cannot be stored or sent
    BLOB_DROP = 10  # client → agent: a blob is no longer needed


@dataclass(frozen=True, slots=True)
class Envelope:
    kind: Kind
    stream: bytes
    incarnation: bytes
    seq: int = 0
    ack: int = 0
    flags: int = 0
    payload: Part = b""

    @property
    def more(self) -> bool:
        return bool(self.flags & MORE)


def pack(envelope: Envelope) -> bytes:
    header = _HEADER.pack(
        VERSION,
        envelope.kind,
        envelope.flags,
        envelope.stream,
        envelope.incarnation,
        envelope.seq,
        envelope.ack,
    )
    return b"".join((header, envelope.payload)) if envelope.payload else header


def unpack(message: Part) -> Envelope:
    """Read an envelope; its payload is a view of ``message``.

    Raises:
        IncompatibleVersion: when it was packed by another version of this format.
        MalformedFrame: when it is too short, or of no known kind.
    """
    view = memoryview(message)
    if view.nbytes < HEADER_BYTES:
        raise MalformedFrame(f"a message of {view.nbytes} bytes is too short for an envelope")
    version, kind, flags, stream, incarnation, seq, ack = _HEADER.unpack_from(view)
    if version != VERSION:
        raise IncompatibleVersion(
            f"the other side packs messages in format {version}, this side reads format {VERSION}; "
            "install the same version of perijove on both"
        )
    try:
        kind = Kind(kind)
    except ValueError:
        raise MalformedFrame(f"no envelope is of kind {kind}") from None
    return Envelope(kind, stream, incarnation, seq, ack, flags, view[HEADER_BYTES:])


def incarnation_of(message: Part) -> bytes:
    """The incarnation in a packed envelope's header: all that a relay needs to know."""
    return bytes(message[12:28])
