"""The two ends of a numbered stream: kept until acknowledged, taken exactly once, in order.

No sockets and no clock here. The agent's spool is the on-disk twin of :class:`Outbox`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .envelope import CHUNK_BYTES
from .jupyter_frames import Part


def chunks(frame: Part) -> Iterator[tuple[Part, bool]]:
    """Cut a frame into pieces of at most CHUNK_BYTES, each with whether more follow."""
    view = memoryview(frame)
    last = max(0, (view.nbytes - 1) // CHUNK_BYTES * CHUNK_BYTES)
    for start in range(0, last + 1, CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES], start != last


@dataclass(slots=True)
class Outbox:
    """Numbers what is sent on one stream and keeps it until the other side has it."""

    next_seq: int = 1
    _kept: deque[tuple[int, Part, bool]] = field(default_factory=deque)

    def add(self, frame: Part) -> list[tuple[int, Part, bool]]:
        """Number a frame's pieces: ``(seq, piece, more)``, to be sent now and again after a reconnection."""
        numbered = []
        for piece, more in chunks(frame):
            numbered.append((self.next_seq, piece, more))
            self.next_seq += 1
        self._kept.extend(numbered)
        return numbered

    def acknowledge(self, ack: int) -> None:
        while self._kept and self._kept[0][0] <= ack:
            self._kept.popleft()

    def unacknowledged(self) -> list[tuple[int, Part, bool]]:
        return list(self._kept)

    @property
    def last_seq(self) -> int:
        return self.next_seq - 1


@dataclass(slots=True)
class Inbox:
    """Takes the DATA of one stream: drops repeats, refuses gaps, and joins pieces into frames."""

    last_seq: int = 0
    _pieces: list[Part] = field(default_factory=list)

    def receive(self, seq: int, piece: Part, more: bool) -> Part | None:
        """The whole frame that this piece completes, or None (a repeat, or more to come).

        Raises:
            GapInStream: when messages before ``seq`` are missing; the caller reconnects and resumes.
        """
        if seq <= self.last_seq:
            return None
        if seq != self.last_seq + 1:
            raise GapInStream(expected=self.last_seq + 1, got=seq)
        self.last_seq = seq
        if more:
            self._pieces.append(bytes(piece))
            return None
        if not self._pieces:
            return piece
        frame = b"".join([*self._pieces, piece])
        self._pieces.clear()
        return frame

    def skip_to(self, first_seq: int) -> int:
        """Accept that what lies before ``first_seq`` is gone; returns how many. A torn frame is dropped."""
        missing = max(0, first_seq - 1 - self.last_seq)
        if missing:
            self.last_seq = first_seq - 1
            self._pieces.clear()
        return missing


class GapInStream(Exception):
    """Messages are missing in a numbered stream."""

    def __init__(self, *, expected: int, got: int) -> None:
        super().__init__(f"message {expected} of the stream is missing, {got} came instead")
        self.expected = expected
        self.got = got
