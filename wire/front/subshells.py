"""Subshells that outlive processes: front-ends know our ids, each process its own.

A front-end creates a subshell once, when it connects; the process that has to have it comes later, and may be
followed by another. So a process's subshell is made when the first message for it is under way, and the id in that
message's header is replaced. Source: JEP 91 (ids stand in the header; replies and output go by the parent's msg_id).
"""

from __future__ import annotations

import dataclasses

from ..jupyter_frames import JupyterFrame
from .messages import document, packed


class Subshells:
    def __init__(self) -> None:
        self._real: dict[str, str | None] = {}  # the process's ids by ours
        self._waiting: dict[str, list[JupyterFrame]] = {}

    @property
    def ids(self) -> list[str]:
        return list(self._real)

    def create(self, subshell_id: str) -> None:
        self._real[subshell_id] = None

    def delete(self, subshell_id: str) -> str | None:
        """Forget one; returns the process's id for it, if it has one.

        Raises:
            KeyError: when there is no such subshell.
        """
        self._waiting.pop(subshell_id, None)
        return self._real.pop(subshell_id)

    def process_ended(self) -> None:
        self._real = dict.fromkeys(self._real)
        self._waiting.clear()

    def named_in(self, frame: JupyterFrame) -> str | None:
        """Our subshell that a message is for; None for the main shell."""
        if not self._real or b'"subshell_id"' not in bytes(frame.header):
            return None
        subshell_id = document(frame.header).get("subshell_id")
        return subshell_id if subshell_id in self._real else None

    def addressed(self, frame: JupyterFrame, subshell_id: str) -> JupyterFrame | None:
        """The message as the process is to have it; None while its subshell is not there: then it waits here."""
        real = self._real[subshell_id]
        if real is None:
            self._waiting.setdefault(subshell_id, []).append(frame)
            return None
        return _with_subshell(frame, real)

    def must_be_made(self, subshell_id: str) -> bool:
        """Whether the message that waits now is the first one."""
        return len(self._waiting.get(subshell_id, ())) == 1

    def made(self, subshell_id: str, real: str | None) -> list[JupyterFrame]:
        """The process has made it (None: it could not; its messages go to the main shell). Returns what waited."""
        waiting = self._waiting.pop(subshell_id, [])
        if subshell_id not in self._real:
            return []
        self._real[subshell_id] = real
        return [_with_subshell(frame, real) for frame in waiting]


def _with_subshell(frame: JupyterFrame, real: str | None) -> JupyterFrame:
    header = document(frame.header)
    header.pop("subshell_id", None)
    if real is not None:
        header["subshell_id"] = real
    return dataclasses.replace(frame, header=packed(header))
