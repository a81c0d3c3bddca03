"""The agent's end of a kernel's numbered streams: what to hand to the kernel, what to send (docs/protocol.md §2).

No socket, no clock. One stream goes out (what the kernel emits, in a :class:`Spool`); a client's streams come in, each
through an :class:`Inbox` that lets every message through once, so that no cell ever runs twice.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ..wire.envelope import KERNEL_STREAM, MORE, Envelope, Kind, pack
from ..wire.replay import GapInStream, Inbox
from .interrupts import Interrupts
from .spool import Spool

ACK_AFTER_BYTES = 256 << 10
MAX_CLIENT_STREAMS = 1024
"""Cursors are forgotten oldest first, never by time: forgetting one could let a cell run twice."""


@dataclass(slots=True)
class _ClientStream:
    inbox: Inbox = field(default_factory=Inbox)
    acked: int = 0  # what the client was told
    unacked_bytes: int = 0
    asked_again_at: int = -1  # the cursor at which a gap was last complained about


class Arrival(NamedTuple):
    """A whole Jupyter frame from a client, and where in which of its streams it ended."""

    frame: bytes
    stream: bytes
    seq: int


class KernelStreams:
    def __init__(self, incarnation: bytes, spool: Spool) -> None:
        self.spool = spool
        self.interrupts = Interrupts()
        self._incarnation = incarnation
        self._clients: OrderedDict[bytes, _ClientStream] = OrderedDict()
        self._replies: deque[bytes] = deque()
        self._resumed_streams: list[bytes] = []
        self._resumed_at = -1
        self._accepting = False
        self.turned_away = False  # a message came for a process without a GPU

    # whether the kernel may run cells ---------------------------------------------------------------------------

    def accept(self) -> None:
        """The process is bound: take messages for it, and ask for those that came too early or too late."""
        self._accepting = True
        for stream, client in self._clients.items():
            self._replies.append(self._resumed(stream, client))

    def stop_accepting(self) -> None:
        """The process holds no GPU: a cell that crosses the release stays with the client, which sends it again."""
        self._accepting = False

    # from the client --------------------------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> Arrival | None:
        """Take a DATA, ACK or RESUME envelope; returns the Jupyter frame that it completed, for the kernel."""
        match envelope.kind:
            case Kind.DATA:
                self.spool.acknowledge(envelope.ack)
                if self._accepting:
                    return self._receive_data(envelope)
                self.turned_away = True
            case Kind.ACK:
                self.spool.acknowledge(envelope.ack)
            case Kind.RESUME:
                self._resume(envelope)
            case _:
                pass  # a newer minor version may say more
        return None

    def _receive_data(self, envelope: Envelope) -> Arrival | None:
        client = self._client(envelope.stream)
        try:
            frame = client.inbox.receive(envelope.seq, envelope.payload, envelope.more)
        except GapInStream:
            if client.asked_again_at != client.inbox.last_seq:  # once: what follows the gap arrives here too
                client.asked_again_at = client.inbox.last_seq
                self._replies.append(self._resumed(envelope.stream, client))
            return None
        client.unacked_bytes += len(envelope.payload)
        if client.inbox.last_seq >= envelope.seq > client.acked and client.unacked_bytes >= ACK_AFTER_BYTES:
            self._acknowledge(envelope.stream, client)
        return None if frame is None else Arrival(bytes(frame), envelope.stream, envelope.seq)

    def _resume(self, envelope: Envelope) -> None:
        """Send again what the client lacks, from ``ack`` on.

        A client resumes its two streams one after the other, with the same ack; the second must not make
        everything travel twice. So a RESUME rewinds unless it is the one stream that follows its sibling.
        """
        client = self._client(envelope.stream)
        is_sibling = (
            len(self._resumed_streams) == 1
            and envelope.stream not in self._resumed_streams
            and envelope.ack == self._resumed_at
        )
        if is_sibling:
            self._resumed_streams.append(envelope.stream)
            self.interrupts.pair(*self._resumed_streams)
        else:
            self._resumed_streams = [envelope.stream]
            self._resumed_at = envelope.ack
            self.spool.rewind(envelope.ack)
        self._replies.append(self._resumed(envelope.stream, client))

    # to the client ----------------------------------------------------------------------------------------------

    def reopened(self) -> None:
        """The data link is new: what was under way on the old one may be lost, in both directions."""
        self.spool.rewind(self.spool.acked)
        self._replies.clear()
        for stream, client in self._clients.items():
            self._replies.append(self._resumed(stream, client))

    def acknowledge_all(self) -> None:
        """Owed acknowledgements are due (50 ms have passed)."""
        for stream, client in self._clients.items():
            if client.inbox.last_seq > client.acked:
                self._acknowledge(stream, client)

    @property
    def owes_acknowledgement(self) -> bool:
        return any(client.inbox.last_seq > client.acked for client in self._clients.values())

    def next_message(self) -> bytes | None:
        """What to send next: answers first, then the kernel's messages as far as the window allows."""
        if self._replies:
            return self._replies.popleft()
        piece = self.spool.next()
        if piece is None:
            return None
        flags = MORE if piece.more else 0
        return pack(Envelope(Kind.DATA, KERNEL_STREAM, self._incarnation, piece.seq, 0, flags, piece.payload))

    def _client(self, stream: bytes) -> _ClientStream:
        client = self._clients.get(stream)
        if client is None:
            client = self._clients[stream] = _ClientStream()
            if len(self._clients) > MAX_CLIENT_STREAMS:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(stream)
        return client

    def _acknowledge(self, stream: bytes, client: _ClientStream) -> None:
        client.acked = client.inbox.last_seq
        client.unacked_bytes = 0
        self._replies.append(pack(Envelope(Kind.ACK, stream, self._incarnation, ack=client.acked)))

    def _resumed(self, stream: bytes, client: _ClientStream) -> bytes:
        client.acked = client.inbox.last_seq
        client.unacked_bytes = 0
        return pack(
            Envelope(Kind.RESUMED, stream, self._incarnation, seq=self.spool.first_seq, ack=client.inbox.last_seq)
        )
