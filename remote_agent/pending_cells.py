"""Which cells a kernel has been given and has not finished: what makes it busy. Pure; reads headers' bytes.

Only ``execute_request`` counts: comm messages and completions keep no GPU busy. A cell is finished at its idle
status, which every request gets, aborted ones as well.
"""

from __future__ import annotations

import json

_EXECUTE = b'"execute_request"'


class PendingCells:
    """In the order in which they were sent; each with its client's stream and its place there."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[bytes, int]] = {}
        self._headers: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def running(self) -> tuple[bytes, int] | None:
        """Stream and seq of the first cell that is not finished."""
        return next(iter(self._waiting.values()), None)

    @property
    def running_header(self) -> bytes | None:
        """The request of the first cell that is not finished."""
        return next(iter(self._headers.values()), None)

    def request_sent(self, header: bytes, stream: bytes = b"", seq: int = 0) -> bool:
        """A client's message on shell; returns whether the kernel became busy by it."""
        if not is_cell(header):
            return False
        was_busy = bool(self._waiting)
        message_id = json.loads(header)["msg_id"]
        self._waiting[message_id], self._headers[message_id] = (stream, seq), header
        return not was_busy

    def status_seen(self, parts: list[bytes]) -> bool:
        """An IOPub message (header, parent header, metadata, content); returns whether the kernel became idle."""
        if not self._waiting or _EXECUTE not in parts[1] or b'"status"' not in parts[0] or b'"idle"' not in parts[3]:
            return False
        if json.loads(parts[0]).get("msg_type") != "status":
            return False
        message_id = json.loads(parts[1]).get("msg_id")
        self._waiting.pop(message_id, None)
        self._headers.pop(message_id, None)
        return not self._waiting

    def clear(self) -> None:
        self._waiting.clear()
        self._headers.clear()


def is_cell(header: bytes) -> bool:
    return _EXECUTE in header and json.loads(header).get("msg_type") == "execute_request"
