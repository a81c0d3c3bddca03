"""Comms of a remote kernel, between a front-end and a kernel that are both stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm, CommManager
from perijove.magics.comms import HELD_PER_COMM, CommRelay
from perijove.magics.messages import Message, parse
from perijove.wire.jupyter_frames import decode_frame


class Remote:
    """The remote kernel: handles a message when the relay waits for it, unless told not to."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.reachable = True
        self.interrupts = 0
        self.while_waiting: Callable[[], None] = self.handle_all
        self.relay: CommRelay

    def send_frame(self, frame: bytes, *, control: bool = False) -> None:
        self.sent.append(parse(decode_frame(frame)))

    def interrupt(self) -> None:
        self.interrupts += 1

    def is_reachable(self) -> bool:
        return self.reachable

    def pump_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        assert condition()
        self.while_waiting()

    def handle_all(self) -> None:
        self.say("idle")

    def say(self, state: str) -> None:
        for message in self.sent:
            self.relay.status(from_remote("status", {"execution_state": state}, parent=message.header["msg_id"]))


class FrontEnd:
    """The outputs of a notebook, as far as comms need them."""

    def __init__(self) -> None:
        self.kernel: Any = SimpleNamespace()
        self.shown: list[Message] = []

    def forward(self, message: Message) -> None:
        self.shown.append(message)


def from_remote(msg_type: str, content: dict[str, Any], parent: str = "cell", buffers: Any = ()) -> Message:
    return Message("iopub", {"msg_type": msg_type, "msg_id": "r"}, {"msg_id": parent}, {}, content, tuple(buffers))


def opened(comm_id: str = "c1", target: str = "some.target") -> Message:
    return from_remote("comm_open", {"comm_id": comm_id, "target_name": target, "data": {}})


def said(data: dict[str, Any], msg_id: str = "m1", comm_id: str = "c1", buffers: Any = ()) -> dict[str, Any]:
    return {
        "header": {"msg_id": msg_id, "session": "front-end", "msg_type": "comm_msg"},
        "content": {"comm_id": comm_id, "data": data},
        "metadata": {},
        "buffers": list(buffers),
    }


def update(**state: Any) -> dict[str, Any]:
    return {"method": "update", "state": state, "buffer_paths": []}


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> CommManager:
    manager = CommManager()
    monkeypatch.setattr(comm, "get_comm_manager", lambda: manager)
    monkeypatch.setattr(comm, "create_comm", lambda **options: BaseComm(**options))
    return manager


@pytest.fixture
def front_end() -> FrontEnd:
    return FrontEnd()


@pytest.fixture
def remote(manager: CommManager, front_end: FrontEnd) -> Iterator[Remote]:
    remote = Remote()
    remote.relay = CommRelay(front_end, remote)  # type: ignore[arg-type]
    yield remote
    remote.relay.remote_ended()


def test_what_the_remote_opens_is_shown_and_answers_under_its_id(
    remote: Remote, front_end: FrontEnd, manager: CommManager
) -> None:
    remote.relay.relay(opened())
    assert [message.type for message in front_end.shown] == ["comm_open"]
    manager.comms["c1"].handle_msg(said({"hello": 1}, buffers=[b"\x00\x01"]))
    (message,) = remote.sent
    assert message.type == "comm_msg"
    assert message.header["msg_id"] == "m1"  # so that what it causes has the parent that the front-end waits for
    assert message.content == {"comm_id": "c1", "data": {"hello": 1}}
    assert [bytes(buffer) for buffer in message.buffers] == [b"\x00\x01"]


def test_a_front_end_waits_until_its_message_is_handled(remote: Remote, manager: CommManager) -> None:
    waits = []

    def long_callback() -> None:
        waits.append(1)
        remote.say("idle" if len(waits) == 50 else "busy")

    remote.while_waiting = long_callback
    remote.relay.relay(opened())
    manager.comms["c1"].handle_msg(said({}))
    assert len(waits) == 50


def test_it_does_not_wait_for_a_kernel_that_says_nothing(remote: Remote, manager: CommManager) -> None:
    remote.while_waiting = lambda: None
    remote.relay.relay(opened())
    manager.comms["c1"].handle_msg(said({}))


def test_it_does_not_wait_for_a_kernel_that_goes_away(remote: Remote, manager: CommManager) -> None:
    def release() -> None:
        remote.say("busy")
        remote.reachable = False

    remote.while_waiting = release
    remote.relay.relay(opened())
    manager.comms["c1"].handle_msg(said({}))


def test_stop_reaches_a_callback_that_runs_over_there(remote: Remote, manager: CommManager) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    remote.while_waiting = stop
    remote.relay.relay(opened())
    with pytest.raises(KeyboardInterrupt):
        manager.comms["c1"].handle_msg(said({}))
    assert remote.interrupts == 1


def test_without_a_gpu_messages_are_held_and_go_out_when_there_is_one(remote: Remote, manager: CommManager) -> None:
    remote.relay.relay(opened())
    remote.reachable = False
    stand_in = manager.comms["c1"]
    for n in range(5):
        stand_in.handle_msg(said(update(value=n), f"value-{n}"))
    stand_in.handle_msg(said(update(color="red"), "color"))
    stand_in.handle_msg(said({"method": "custom", "content": {"event": "click"}}, "click"))
    stand_in.handle_msg(said(update(value=9), "value-9"))
    assert remote.sent == []
    remote.reachable = True
    remote.relay.resumed()
    assert [message.header["msg_id"] for message in remote.sent] == ["color", "click", "value-9"]


def test_what_is_held_is_bounded(remote: Remote, manager: CommManager) -> None:
    remote.relay.relay(opened())
    remote.reachable = False
    for n in range(3 * HELD_PER_COMM):
        manager.comms["c1"].handle_msg(said({"method": "custom", "content": n}, str(n)))
    remote.reachable = True
    remote.relay.resumed()
    assert len(remote.sent) == HELD_PER_COMM


def test_a_widget_of_an_ended_process_is_silent(remote: Remote, manager: CommManager) -> None:
    remote.relay.relay(opened())
    remote.relay.remote_ended()
    manager.comms["c1"].handle_msg(said({}))
    assert remote.sent == []


def test_closing_travels_both_ways_once(remote: Remote, manager: CommManager, front_end: FrontEnd) -> None:
    remote.relay.relay(opened("c1"))
    remote.relay.relay(opened("c2"))
    remote.relay.relay(from_remote("comm_close", {"comm_id": "c1", "data": {}}))
    assert list(manager.comms) == ["c2"]
    manager.comms["c2"].handle_close(said({}, comm_id="c2"))
    assert [(message.type, message.content["comm_id"]) for message in remote.sent] == [("comm_close", "c2")]
    assert [message.type for message in front_end.shown] == ["comm_open", "comm_open", "comm_close"]


def test_a_terminal_has_no_comms(remote: Remote, manager: CommManager, front_end: FrontEnd) -> None:
    front_end.kernel = None
    remote.relay.relay(opened())
    assert manager.comms == {}
    assert front_end.shown == []
