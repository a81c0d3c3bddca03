"""What a kernel has emitted and its client has not acknowledged: numbered, in order, bounded.

The oldest part is in memory (what is under way, and what goes next), the rest in an :class:`Overflow` on disk::

    sent (under way, at most WINDOW_BYTES) | ready (memory) | overflow (disk) | tail (memory, while the disk is full)

Acknowledged messages go when their whole frame is acknowledged, so that what remains always starts with a whole
frame: a client that comes anew can use all of it. When :attr:`Spool.full`, the agent stops taking from the kernel.
"""

from __future__ import annotations

from collections import deque

from ..wire.jupyter_frames import Part
from ..wire.replay import chunks
from .overflow import DiskFull, Overflow, Piece

WINDOW_BYTES = 4 << 20
MEMORY_BYTES = 8 << 20
WITHOUT_DISK_BYTES = 64 << 20  # when the disk is full, memory takes this much before the kernel has to wait


class Spool:
    def __init__(self, overflow: Overflow, limit_bytes: int) -> None:
        self._overflow = overflow
        self._limit_bytes = limit_bytes
        self._sent: deque[Piece] = deque()
        self._ready: deque[Piece] = deque()
        self._tail: deque[Piece] = deque()
        self._next_seq = 1
        self._in_flight_bytes = 0
        self._ready_bytes = 0
        self._tail_bytes = 0
        self._acked = 0

    @property
    def acked(self) -> int:
        return self._acked

    @property
    def last_seq(self) -> int:
        return self._next_seq - 1

    @property
    def first_seq(self) -> int:
        """The first message that can still be sent (again)."""
        if self._sent:
            return self._sent[0].seq
        return self._ready[0].seq if self._ready else self._next_seq

    @property
    def unsent(self) -> bool:
        return bool(self._ready)

    @property
    def full(self) -> bool:
        if self._tail_bytes >= WITHOUT_DISK_BYTES:
            return True
        return self._ready_bytes + self._overflow.size_bytes + self._tail_bytes >= self._limit_bytes

    def append(self, frame: Part) -> None:
        """Number a frame's pieces and keep them. Never refuses: who fills the spool looks at ``full`` first."""
        for payload, more in chunks(frame):
            self._keep(Piece(self._next_seq, payload, more))
            self._next_seq += 1

    def next(self) -> Piece | None:
        """The next piece to send, if the window has room for it."""
        if not self._ready:
            return None
        if self._in_flight_bytes and self._in_flight_bytes + self._ready[0].size > WINDOW_BYTES:
            return None
        piece = self._ready.popleft()
        self._ready_bytes -= piece.size
        self._sent.append(piece)
        self._in_flight_bytes += piece.size
        self._refill()
        return piece

    def acknowledge(self, ack: int) -> None:
        """The client has everything up to ``ack``; a number never sent is not believed."""
        last_sent = self._sent[-1].seq if self._sent else self._acked
        ack = min(ack, last_sent)
        if ack <= self._acked:
            return
        previous, self._acked = self._acked, ack
        whole = 0  # how many pieces from the left belong to frames that are acknowledged to their end
        for index, piece in enumerate(self._sent):
            if piece.seq > ack:
                break
            if piece.seq > previous:
                self._in_flight_bytes -= piece.size
            if not piece.more:
                whole = index + 1
        for _ in range(whole):
            self._sent.popleft()

    def rewind(self, ack: int) -> None:
        """A client has everything up to ``ack`` and may have lost what was sent behind it: send that again."""
        self.acknowledge(ack)
        keep_from = max(ack, 0)
        while self._sent and self._sent[-1].seq > keep_from:
            piece = self._sent.pop()
            self._ready.appendleft(piece)
            self._ready_bytes += piece.size
        self._acked = min(self._acked, max(keep_from, self.first_seq - 1))
        self._in_flight_bytes = sum(piece.size for piece in self._sent if piece.seq > self._acked)

    def close(self) -> None:
        self._sent.clear()
        self._ready.clear()
        self._tail.clear()
        self._overflow.close()

    def _keep(self, piece: Piece) -> None:
        if not self._tail:
            if not self._overflow and self._ready_bytes < MEMORY_BYTES:
                self._keep_ready(piece)
                return
            try:
                self._overflow.push(piece)
            except DiskFull:
                pass  # then memory has to do, up to a limit; see ``full``
            else:
                return
        self._tail.append(piece)
        self._tail_bytes += piece.size

    def _keep_ready(self, piece: Piece) -> None:
        self._ready.append(piece)
        self._ready_bytes += piece.size

    def _refill(self) -> None:
        while self._overflow and self._ready_bytes < MEMORY_BYTES // 2:
            for piece in self._overflow.pull():
                self._keep_ready(piece)
        while self._tail and not self._overflow and self._ready_bytes < MEMORY_BYTES:
            piece = self._tail.popleft()
            self._tail_bytes -= piece.size
            self._keep_ready(piece)
