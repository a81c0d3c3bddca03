"""Which cells an interrupt is meant for. Pure.

An interrupt travels on a client's control stream and overtakes its shell stream, so it says how far the shell stream
was when it was sent (``metadata.perijove.shell_seq``). Cells up to there that have not arrived yet must never start;
a cell sent after it must not be hit by it (DESIGN.md §4).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(slots=True)
class Interrupts:
    _shell_of: dict[bytes, bytes] = field(default_factory=dict)
    _cancelled_up_to: dict[bytes, int] = field(default_factory=dict)

    def pair(self, one: bytes, other: bytes) -> None:
        """These two streams are one client's: its control stream and its shell stream, whichever is which."""
        self._shell_of[one] = other
        self._shell_of[other] = one

    def arrived(self, control_stream: bytes, shell_seq: int | None, running: tuple[bytes, int] | None) -> bool:
        """Take note of an interrupt; returns whether the ``running`` cell (its stream and seq) is to be interrupted."""
        shell_stream = self._shell_of.get(control_stream)
        if shell_seq is None or shell_stream is None:
            return True  # as from a client that numbers nothing: it means whatever runs
        self._cancelled_up_to[shell_stream] = max(shell_seq, self._cancelled_up_to.get(shell_stream, 0))
        return running is None or running[0] != shell_stream or running[1] <= shell_seq

    def is_cancelled(self, stream: bytes, seq: int) -> bool:
        return seq <= self._cancelled_up_to.get(stream, 0)


def shell_seq_of(metadata: bytes) -> int | None:
    """How far the shell stream was, from an interrupt_request's metadata."""
    if b'"shell_seq"' not in metadata:
        return None
    ours = json.loads(metadata).get("perijove")
    seq = ours.get("shell_seq") if isinstance(ours, dict) else None
    return seq if isinstance(seq, int) else None
