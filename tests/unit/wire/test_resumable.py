"""docs/protocol.md §2, both ends: whatever the link does, everything arrives once and in order."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perijove.remote_agent.overflow import Overflow
from perijove.remote_agent.spool import Spool
from perijove.remote_agent.streams import KernelStreams
from perijove.wire import link
from perijove.wire.envelope import CHUNK_BYTES, Envelope, Kind, pack, unpack
from perijove.wire.errors import ConnectionLost, KernelNotFound, PerijoveError
from perijove.wire.jupyter_frames import JupyterFrame, encode_frame
from perijove.wire.lanes import Lane
from perijove.wire.models import KernelState, KernelView
from perijove.wire.replay import GapInStream
from perijove.wire.resumable import ResumableLink
from perijove.wire.usage import KernelUsage

ME = b"i" * 16
OTHER = b"o" * 16


def view(state: KernelState = KernelState.ATTACHED, incarnation: bytes | None = ME) -> KernelView:
    return KernelView(
        id="k", name="n", state=state, gpu_spec="any", incarnation=incarnation.hex() if incarnation else None
    )


def frame(text: bytes, channel: str = "shell") -> bytes:
    return encode_frame(channel, [b"{}", b"{}", b"{}", json.dumps(text.decode()).encode()])


@dataclass
class Reader:
    """Takes what arrives when it is told to."""

    got: list[bytes] = field(default_factory=list)
    taken_up_to: int = 0
    seqs: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    lost: int = 0

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None:
        self.got.append(json.loads(bytes(frame.content)).encode())
        self.seqs.append(seq)

    def state_changed(self, view: KernelView) -> None:
        self.events.append(view.state.value)

    def incarnation_changed(self, view: KernelView) -> None:
        self.events.append("incarnation")

    def usage_received(self, usage: KernelUsage) -> None:
        self.events.append(f"usage {len(usage.samples)}")

    def undeliverable(self) -> None:
        self.events.append("undeliverable")

    def messages_lost(self, count: int) -> None:
        self.lost += count

    def connection_changed(self, connected: bool) -> None:
        self.events.append("connected" if connected else "disconnected")

    def failed(self, error: PerijoveError) -> None:
        self.events.append("failed")


class Wire:
    """A link, the reader at one end, an agent's streams at the other, and between them queues that can be cut."""

    def __init__(self, directory: Path) -> None:
        self.reader = Reader()
        self.lanes: tuple[deque[bytes | link.FromClient], ...] = tuple(deque() for _ in Lane)
        self.link = ResumableLink(lambda lane, message: self.lanes[lane].append(message), self.reader)
        self.spool = Spool(Overflow(directory / "overflow"), 64 << 20)
        self.streams = KernelStreams(ME, self.spool)
        self.streams.accept()
        self.at_agent: dict[bytes, list[bytes]] = {}
        self.back: deque[bytes] = deque()
        self.sent: dict[bool, list[bytes]] = {False: [], True: []}
        self.emitted: list[bytes] = []

    def send(self, control: bool) -> None:
        text = f"{'control' if control else 'shell'} {len(self.sent[control])}".encode()
        self.sent[control].append(text)
        self.link.send(frame(text, "control" if control else "shell"), control=control)

    def emit(self, size: int) -> None:
        text = f"{len(self.emitted)} ".encode() + b"x" * size
        self.emitted.append(text)
        self.spool.append(frame(text, "iopub"))

    def connect(self) -> None:
        self.cut()
        self.link.opened(view())

    def cut(self) -> None:
        """All that is under way is lost, in both directions."""
        for lane in self.lanes:
            lane.clear()
        self.back.clear()
        if self.link.is_open:
            self.link.closed()

    def deliver_to_agent(self, count: int, *, twice: bool = False) -> None:
        for _ in range(count):
            message = next((lane.popleft() for lane in self.lanes if lane), None)
            if not isinstance(message, bytes):
                return
            for _ in range(2 if twice else 1):
                arrival = self.streams.receive(unpack(message))
                if arrival is not None:
                    self.at_agent.setdefault(arrival.stream, []).append(arrival.frame)

    def deliver_to_client(self, count: int, *, twice: bool = False) -> None:
        while (message := self.streams.next_message()) is not None:
            self.back.append(message)
        for _ in range(min(count, len(self.back))):
            message = self.back.popleft()
            for _ in range(2 if twice else 1):
                self.link.envelope_received(message)

    def lose_one(self) -> None:
        """The network does not do that, a broker that is restarted does: a hole in what arrives."""
        while (message := self.streams.next_message()) is not None:
            self.back.append(message)
        if self.back:
            self.back.popleft()

    def read(self) -> None:
        if self.reader.seqs:
            self.link.note_taken(self.reader.seqs[-1])
        self.link.acknowledge()

    def settle(self) -> None:
        for _ in range(1000):
            self.streams.acknowledge_all()
            self.deliver_to_agent(1000)
            self.deliver_to_client(1000)
            self.read()
            if not self.back and not any(self.lanes) and not self.spool.unsent and not self.link.owes_ack:
                return
        raise AssertionError("the two ends never come to rest")


STEPS = st.one_of(
    st.tuples(st.just("send"), st.booleans()),
    st.tuples(st.just("emit"), st.sampled_from([0, 10, 100_000, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])),
    st.tuples(st.just("to agent"), st.integers(1, 6)),
    st.tuples(st.just("to agent twice"), st.integers(1, 3)),
    st.tuples(st.just("to client"), st.integers(1, 6)),
    st.tuples(st.just("to client twice"), st.integers(1, 3)),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("lose"), st.none()),
    st.tuples(st.just("cut"), st.none()),
    st.tuples(st.just("data link anew"), st.none()),
    st.tuples(st.just("owed"), st.none()),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=60))
def test_whatever_the_link_does_everything_arrives_once_and_in_order(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        wire = Wire(Path(directory))
        wire.connect()
        for name, what in steps:
            try:
                take_step(wire, name, what)
            except GapInStream:
                wire.connect()
        wire.connect()
        wire.settle()
        assert wire.reader.got == wire.emitted
        assert wire.reader.lost == 0
        arrived = [frames for _, frames in sorted(wire.at_agent.items(), key=lambda item: item[1][0])]
        expected = [[frame(t, "control") for t in wire.sent[True]], [frame(t) for t in wire.sent[False]]]
        assert sorted(arrived) == sorted(frames for frames in expected if frames)
        wire.streams.spool.close()


def take_step(wire: Wire, name: str, what: object) -> None:
    match name, what:
        case "send", bool(control):
            wire.send(control)
        case "emit", int(size):
            wire.emit(size)
        case (("to agent" | "to agent twice"), int(count)):
            wire.deliver_to_agent(count, twice=name.endswith("twice"))
        case (("to client" | "to client twice"), int(count)):
            wire.deliver_to_client(count, twice=name.endswith("twice"))
        case "read", _:
            wire.read()
        case "lose", _:
            wire.lose_one()
        case "cut", _:
            wire.connect()
        case "data link anew", _:
            wire.streams.reopened()
            wire.connect()  # the broker closes the client link, too
        case "owed", _:
            wire.streams.acknowledge_all()


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    wire = Wire(tmp_path)
    wire.connect()
    return wire


def test_what_is_not_taken_is_not_acknowledged(wire: Wire) -> None:
    wire.emit(10)
    wire.deliver_to_agent(10)
    wire.deliver_to_client(10)
    wire.link.acknowledge()
    assert wire.link.owes_ack
    assert not any(wire.lanes)
    wire.read()
    assert not wire.link.owes_ack
    wire.deliver_to_agent(1)
    assert wire.spool.acked == 1


def test_a_new_process_knows_nothing_of_what_was_sent_to_the_old(wire: Wire) -> None:
    wire.send(control=False)
    wire.reader.events.clear()
    wire.link.text_received(link.State(kernel=view(incarnation=OTHER)))
    assert wire.reader.events == ["incarnation", "attached"]
    assert wire.link.last_shell_seq == 0
    resumes = [unpack(message) for lane in wire.lanes for message in lane if isinstance(message, bytes)][-2:]
    assert {resume.incarnation for resume in resumes} >= {OTHER}
    wire.link.envelope_received(pack(Envelope(Kind.DATA, b"\0" * 8, ME, seq=7, payload=frame(b"late"))))
    assert wire.reader.got == []


def test_without_a_process_nothing_can_be_sent(wire: Wire) -> None:
    wire.link.text_received(link.State(kernel=view(KernelState.DETACHED, None)))
    with pytest.raises(ConnectionLost):
        wire.link.send(frame(b"x"))


def test_what_crosses_a_release_is_sent_again_when_the_gpu_is_back(wire: Wire) -> None:
    wire.deliver_to_agent(10)
    wire.link.text_received(link.State(kernel=view(KernelState.SUSPENDED)))
    wire.send(control=False)
    assert not any(wire.lanes)
    wire.link.text_received(link.State(kernel=view()))
    wire.deliver_to_agent(10)
    assert list(wire.at_agent.values()) == [[frame(b"shell 0")]]


def test_undeliverable_messages_wait_for_the_next_attach(wire: Wire) -> None:
    wire.link.text_received(link.Undeliverable(incarnation=OTHER.hex(), ended=True))
    assert "undeliverable" not in wire.reader.events
    wire.link.text_received(link.Undeliverable(incarnation=ME.hex(), ended=False))
    assert wire.reader.events[-1] == "undeliverable"
    for lane in wire.lanes:
        lane.clear()
    wire.send(control=True)
    assert not any(wire.lanes)


def test_a_gap_is_told_and_passed_over(wire: Wire) -> None:
    wire.link.envelope_received(pack(Envelope(Kind.RESUMED, b"\0" * 8, ME, seq=4)))
    assert wire.reader.lost == 3
    wire.link.envelope_received(pack(Envelope(Kind.DATA, b"\0" * 8, ME, seq=4, payload=frame(b"on"))))
    assert wire.reader.got == [b"on"]


def test_requests_are_asked_again_on_each_connection_and_answered_once(wire: Wire) -> None:
    replies: list[link.Reply] = []
    wire.link.request(link.ReleaseRequest(request_id="r"), replies.append)
    for lane in wire.lanes:
        lane.clear()
    wire.connect()
    asked = [message for message in wire.lanes[Lane.CONTROL] if isinstance(message, link.ReleaseRequest)]
    assert [message.request_id for message in asked] == ["r"]
    for _ in range(2):
        wire.link.text_received(link.Reply(request_id="r"))
    assert [reply.code for reply in replies] == [""]


def test_a_link_that_failed_answers_what_was_asked(wire: Wire) -> None:
    replies: list[link.Reply] = []
    wire.link.request(link.AttachRequest(request_id="r"), replies.append)
    wire.link.failed(KernelNotFound("it is gone"))
    assert [(reply.code, reply.message) for reply in replies] == [(KernelNotFound.code, "it is gone")]


# watching ---------------------------------------------------------------------------------------------------------


def test_who_watches_says_so_on_every_connection_and_hears_what_comes() -> None:
    put: list[object] = []
    reader = Reader()
    watched = ResumableLink(lambda lane, message: put.append(message), reader)
    watched.watch(True)
    assert not put, "there is no connection yet"
    for _ in range(2):
        watched.opened(view())
        assert put.count(link.Watch(on=True)) == 1
        put.clear()
        watched.closed()
    watched.opened(view())
    watched.text_received(link.UsageMessage(usage=KernelUsage(kernel_id="k", live=True, samples=[])))
    assert reader.events[-1] == "usage 0"
    watched.watch(False)
    assert put[-1] == link.Watch(on=False)


def test_a_broker_that_does_not_know_of_it_is_not_asked() -> None:
    put: list[object] = []
    watched = ResumableLink(lambda lane, message: put.append(message), Reader())
    watched.opened(view(), can_watch=False)
    watched.watch(True)
    watched.closed()
    watched.opened(view(), can_watch=False)
    assert not [message for message in put if isinstance(message, link.Watch)]
