"""Envelopes between a kernel's client and its process, as they are: only incarnation and kind are looked at.

Each kernel has a lane with at most two ends. An envelope is handed on by the task that read it, so a slow receiver
slows the sender and nothing queues here, but for one case: the moments between "attached" and the process's data link,
when a bounded number waits. What is lost because a data link broke is healed by having the client connect anew and
resume.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import structlog

from ..wire.envelope import HEADER_BYTES, Kind, incarnation_of
from ..wire.link import Undeliverable
from .links.link import CLOSE_RESUME, LinkClosed, Peer

log = structlog.get_logger(__name__)

MOST_HELD = 64
MOST_HELD_BYTES = 4 << 20
MOST_UNROUTED = 4096
_SEQ = slice(28, 36)  # of a packed envelope (wire.envelope)
_ANY = -1
_DATA, _RESUMED = int(Kind.DATA), int(Kind.RESUMED)  # plain integers: compared for every message
# What makes a process work; all else only reads what it has already sent.
_NEEDS_GPU = frozenset({Kind.DATA, Kind.BLOB_PUT})


@dataclass(slots=True)
class Traffic:
    """What was handed on in one direction."""

    messages: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Lane:
    kernel_id: str
    incarnation: bytes | None = None
    owner: str = ""
    open: bool = False
    client: Peer | None = None
    data: Peer | None = None
    held: deque[bytes] = field(default_factory=deque)
    held_bytes: int = 0
    must_resume: bool = False  # something for or from this client was lost
    next_seq: int = 0  # of the process's DATA to this client; 0: it has not resumed yet

    def drop_held(self) -> None:
        self.held.clear()
        self.held_bytes = 0


class Relay:
    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._by_incarnation: dict[bytes, _Lane] = {}
        self._unrouted: dict[bytes, Peer] = {}  # data links of processes that serve no kernel yet
        self.to_process = Traffic()
        self.to_client = Traffic()
        self.dropped = 0  # DATA that are missing between two that a client got over one link: there must be none
        self.kept_back = 0  # not handed on, as the other end was gone: their sender keeps them, and sends them again
        self.resumes_ordered = 0  # because a process's link was cut

    # routes, as the core says ---------------------------------------------------------------------------------------

    def set_route(self, kernel_id: str, incarnation: str | None, owner: str, is_open: bool) -> None:
        lane = self._lanes.setdefault(kernel_id, _Lane(kernel_id))
        wanted = bytes.fromhex(incarnation) if incarnation else None
        if lane.incarnation != wanted:
            self._leave(lane)
            lane.incarnation = wanted
            lane.drop_held()
            if wanted is not None:
                self._by_incarnation[wanted] = lane
        lane.owner, lane.open = owner, is_open
        self._take_unrouted(lane)

    def _take_unrouted(self, lane: _Lane) -> None:
        """The process's data link may have been there before its route was."""
        link = self._unrouted.get(lane.incarnation) if lane.incarnation is not None else None
        if link is None or link.owner != lane.owner or lane.incarnation is None or lane.data is not None:
            return
        del self._unrouted[lane.incarnation]
        lane.data = link
        if lane.held or lane.must_resume:
            self._have_client_resume(lane)

    def _have_client_resume(self, lane: _Lane) -> None:
        lane.drop_held()
        if lane.client is not None:
            self.resumes_ordered += 1
            lane.client.close_soon("the link to the kernel's process was cut; connect again and resume", CLOSE_RESUME)

    def drop_route(self, kernel_id: str) -> None:
        lane = self._lanes.pop(kernel_id, None)
        if lane is not None:
            self._leave(lane)

    def _leave(self, lane: _Lane) -> None:
        if lane.incarnation is not None:
            self._by_incarnation.pop(lane.incarnation, None)
            if lane.data is not None:
                self._unrouted[lane.incarnation] = lane.data
        lane.data, lane.must_resume, lane.next_seq = None, False, 0

    # clients --------------------------------------------------------------------------------------------------------

    def client_link_opened(self, kernel_id: str, link: Peer) -> None:
        lane = self._lanes.setdefault(kernel_id, _Lane(kernel_id))
        lane.client, lane.must_resume, lane.next_seq = link, False, 0
        lane.drop_held()

    def client_link_closed(self, kernel_id: str, link: Peer) -> None:
        lane = self._lanes.get(kernel_id)
        if lane is not None and lane.client is link:
            lane.client = None
            lane.drop_held()

    async def from_client(self, kernel_id: str, link: Peer, data: bytes) -> None:
        """Hand a client's envelope on; waits while the agent does not take it."""
        lane = self._lanes.get(kernel_id)
        if lane is None or lane.client is not link:
            return
        incarnation, kind = incarnation_of(data), data[1]
        if incarnation != lane.incarnation:
            if kind != Kind.ACK:
                link.say(Undeliverable(incarnation=incarnation.hex(), ended=True).model_dump_json())
        elif not lane.open and kind in _NEEDS_GPU:
            link.say(Undeliverable(incarnation=incarnation.hex(), ended=False).model_dump_json())
        elif lane.data is not None:
            try:
                await lane.data.send_binary(data)
            except LinkClosed:
                lane.must_resume = True
                self.kept_back += 1
            else:
                self.to_process.messages += 1
                self.to_process.bytes += len(data)
        else:
            self._hold(lane, data)

    def _hold(self, lane: _Lane, data: bytes) -> None:
        if len(lane.held) >= MOST_HELD or lane.held_bytes + len(data) > MOST_HELD_BYTES:
            lane.must_resume = True
            self.kept_back += 1 + len(lane.held)
            lane.drop_held()
        elif not lane.must_resume:
            lane.held.append(data)
            lane.held_bytes += len(data)

    # processes ------------------------------------------------------------------------------------------------------

    async def data_link_opened(self, incarnation: bytes, link: Peer) -> bool:
        """A process's data link is there (or now has a route). False: it belongs to somebody else's process."""
        lane = self._by_incarnation.get(incarnation)
        if lane is None or (lane.owner != link.owner and not lane.owner):
            if len(self._unrouted) >= MOST_UNROUTED and incarnation not in self._unrouted:
                return False
            self._replace(self._unrouted.get(incarnation), link)
            self._unrouted[incarnation] = link
            return True
        if lane.owner != link.owner:
            return False
        self._unrouted.pop(incarnation, None)
        self._replace(lane.data, link)
        if lane.must_resume:
            self._have_client_resume(lane)
        try:
            while lane.held and self._by_incarnation.get(incarnation) is lane:
                data = lane.held.popleft()
                lane.held_bytes -= len(data)
                await link.send_binary(data)
                self.to_process.messages += 1
                self.to_process.bytes += len(data)
        except LinkClosed:
            lane.must_resume = True
            self.kept_back += 1
            return True
        if self._by_incarnation.get(incarnation) is lane:
            lane.data = link
        return True

    @staticmethod
    def _replace(older: Peer | None, newer: Peer) -> None:
        if older is not None and older is not newer:
            older.close_soon("the process has linked anew")

    def data_link_closed(self, incarnation: bytes, link: Peer) -> None:
        if self._unrouted.get(incarnation) is link:
            del self._unrouted[incarnation]
        lane = self._by_incarnation.get(incarnation)
        if lane is not None and lane.data is link:
            lane.data, lane.next_seq = None, 0
            lane.must_resume = lane.client is not None

    async def from_process(self, incarnation: bytes, link: Peer, data: bytes) -> None:
        """Hand a process's envelope on; waits while the client does not take it, and drops it if there is none."""
        lane = self._by_incarnation.get(incarnation)
        if lane is None or lane.data is not link or lane.client is None:
            self.kept_back += 1
            return  # the agent keeps it, and sends it again when a client resumes
        client = lane.client
        try:
            await client.send_binary(data)
        except LinkClosed:
            self.kept_back += 1
            return
        self.to_client.messages += 1
        self.to_client.bytes += len(data)
        if lane.client is client:
            self._check_order(lane, data)

    def _check_order(self, lane: _Lane, data: bytes) -> None:
        """From where a client has resumed on, it gets every number of the process's stream."""
        kind = data[1]
        if kind == _DATA and lane.next_seq:
            seq = int.from_bytes(data[_SEQ], "little")
            if seq > lane.next_seq > 0:
                self.dropped += seq - lane.next_seq
                log.error("relay.dropped", kernel=lane.kernel_id, messages=seq - lane.next_seq)
            lane.next_seq = seq + 1
        elif kind == _RESUMED:
            lane.next_seq = _ANY  # what follows begins after what the client has


def is_envelope(data: bytes) -> bool:
    return len(data) >= HEADER_BYTES
