"""Jupyter messages as the magics handle them: made from dictionaries, read from frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..wire.jupyter_frames import JupyterFrame, Part, encode_frame

Document = dict[str, Any]
PROTOCOL_VERSION = "5.4"


@dataclass(frozen=True, slots=True)
class Message:
    """One message with its dictionaries parsed; buffers are views of what was received."""

    channel: str
    header: Document
    parent_header: Document
    metadata: Document
    content: Document
    buffers: tuple[Part, ...] = ()

    @property
    def type(self) -> str:
        return str(self.header["msg_type"])

    @property
    def parent_id(self) -> str:
        return str(self.parent_header.get("msg_id", ""))


def parse(frame: JupyterFrame) -> Message:
    header, parent, metadata, content = (
        # What a program prints need not be text; jupyter_client reads it like this.
        json.loads(bytes(part).decode("utf-8", "replace"))
        for part in (frame.header, frame.parent_header, frame.metadata, frame.content)
    )
    return Message(frame.channel, header, parent, metadata, content, frame.buffers)


def new_header(msg_type: str, like: Document, **extra: Any) -> Document:
    """A header of ours. ``like``: the header whose message this one stands for; its ``msg_id`` and ``session`` stay, so
    that what the remote kernel sends in answer already has the parent that the front-end knows.

    The date is always new: a kernel refuses a message that is the same to the last byte as one before.
    """
    return {
        "msg_id": like["msg_id"],
        "session": like["session"],
        "username": like.get("username", ""),
        "date": datetime.now(UTC).isoformat(),
        "msg_type": msg_type,
        "version": PROTOCOL_VERSION,
        **extra,
    }


def make_frame(
    channel: str,
    header: Document,
    content: Document,
    *,
    parent: Document | None = None,
    metadata: Document | None = None,
    buffers: Sequence[Part] = (),
) -> bytes:
    documents = (header, parent or {}, metadata or {}, content)
    return encode_frame(channel, [*(json.dumps(document).encode() for document in documents), *buffers])
