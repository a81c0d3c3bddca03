"""Reading the Jupyter messages that pass a front, and making those that it says itself.

What passes is looked at in its bytes where that is enough: output is not parsed to be passed on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..jupyter_frames import JupyterFrame, Part

PROTOCOL_VERSION = "5.5"
_MSG_TYPE = re.compile(rb'"msg_type"\s*:\s*"([^"\\]*)"')
_MSG_ID = re.compile(rb'"msg_id"\s*:\s*"([^"\\]*)"')

Document = dict[str, Any]


def type_of(header: Part) -> str:
    """The ``msg_type`` in a header's bytes; empty when there is none."""
    found = _MSG_TYPE.search(header)
    return found.group(1).decode("utf-8", "replace") if found else ""


def id_of(header: Part) -> str:
    """The ``msg_id`` in a header's bytes (of the parent, in a parent header); empty when there is none."""
    found = _MSG_ID.search(header)
    if found:
        return found.group(1).decode("utf-8", "replace")
    return str(document(header).get("msg_id", "")) if len(header) > 2 else ""  # an id with escapes in it


def document(part: Part) -> Document:
    """A part as the JSON object it is; empty where it is none: a front-end's mistake must not end a kernel."""
    try:
        parsed = json.loads(bytes(part))
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def packed(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def utc_timestamp() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Writer:
    """Makes messages that carry one session, whatever they stand for."""

    def __init__(self, session: str, new_id: Callable[[], str], timestamp: Callable[[], str] = utc_timestamp) -> None:
        self.session = session
        self._new_id = new_id
        self._timestamp = timestamp

    def message(
        self,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        parent: Part = b"{}",
        metadata: Mapping[str, Any] | None = None,
    ) -> JupyterFrame:
        header = {
            "msg_id": self._new_id(),
            "msg_type": msg_type,
            "username": "",
            "session": self.session,
            "date": self._timestamp(),
            "version": PROTOCOL_VERSION,
        }
        return JupyterFrame(channel, packed(header), parent, packed(metadata or {}), packed(content))
