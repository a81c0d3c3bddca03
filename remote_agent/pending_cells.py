"""Which cells a kernel has been given and has not finished: what makes it busy. Pure; reads headers' bytes.

Only ``execute_request`` counts: comm messages and completions keep no GPU busy. A cell is finished at its idle
status, which every request gets, aborted ones as well.
"""

from __future__ import annotations

import json

_EXECUTE = b'"execute_request"'


class PendingCells:
    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def request_sent(self, header: bytes) -> bool:
        """A client's message on shell; returns whether the kernel became busy by it."""
        if _EXECUTE not in header:
            return False
        message = json.loads(header)
        if message.get("msg_type") != "execute_request":
            return False
        was_busy = bool(self._waiting)
        self._waiting.add(message["msg_id"])
        return not was_busy

    def status_seen(self, parts: list[bytes]) -> bool:
        """An IOPub message (header, parent header, metadata, content); returns whether the kernel became idle."""
        if b'"idle"' not in parts[3] or b'"status"' not in parts[0] or _EXECUTE not in parts[1]:
            return False
        if not self._waiting:
            return False
        self._waiting.discard(json.loads(parts[1]).get("msg_id"))
        return not self._waiting

    def clear(self) -> None:
        self._waiting.clear()
