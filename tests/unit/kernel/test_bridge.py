"""The bridge between a front and what carries its instructions out: order, and what waits for what."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from perijove.kernel.bridge import WIDGETS_LEAD_S, Bridge
from perijove.wire.errors import NoSuchGpu, PerijoveError
from perijove.wire.front.instructions import (
    Attach,
    CancelAttach,
    Instruction,
    Interrupt,
    Publish,
    ShutDown,
    ToClient,
    ToProcess,
    WakeUp,
)
from perijove.wire.jupyter_frames import JupyterFrame

ADA = (b"ada",)


def frame(channel: str, msg_type: str) -> JupyterFrame:
    return JupyterFrame(channel, b'{"msg_type":"%s"}' % msg_type.encode(), b"{}", b"{}", b"{}")


REQUEST = frame("shell", "execute_request")
REPLY = frame("shell", "execute_reply")
OTHER_REPLY = frame("shell", "complete_reply")
OUTPUT = frame("iopub", "stream")
WIDGETS = frame("iopub", "comm_msg")


class FakeFront:
    """Answers each call with what the test has put there."""

    def __init__(self) -> None:
        self.answers: deque[list[Instruction]] = deque()
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., list[Instruction]]:
        def call(*arguments: Any) -> list[Instruction]:
            self.calls.append((name, *arguments[:-1]))  # the last one is the time
            return self.answers.popleft() if self.answers else []

        return call


class FakeOutput:
    """Holds what it is given while ``is_behind``."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done
        self.is_behind = False
        self.has_room = True
        self.waiting: list[Callable[[], None]] = []
        self.want_room: list[Callable[[], None]] = []

    def publish(self, published: JupyterFrame) -> None:
        self.done.append(published)

    def then(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback) if self.is_behind else callback()

    def when_room(self, callback: Callable[[], None]) -> None:
        callback() if self.has_room else self.want_room.append(callback)


class FakeRemote:
    def __init__(self, done: list[Any]) -> None:
        self.done = done
        self.attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, sent: JupyterFrame, *, control: bool) -> None:
        self.done.append(("control" if control else "shell", sent))

    def interrupt(self, request: JupyterFrame) -> None:
        self.done.append(("interrupt", request))

    async def attach(self) -> None:
        await self.attached

    async def connect_early(self) -> None:
        self.done.append("connected early")

    async def goodbye(self) -> None:
        self.done.append("goodbye")

    async def hand_over(self) -> str:
        return "left"


class World:
    def __init__(self) -> None:
        self.done: list[Any] = []
        self.front = FakeFront()
        self.output = FakeOutput(self.done)
        self.remote = FakeRemote(self.done)
        self.problem: PerijoveError | None = None
        self.bridge = Bridge(
            self.front,  # type: ignore[arg-type]
            self.output,
            lambda client, sent: self.done.append((client, sent)),
            self.open_remote,  # type: ignore[arg-type]
            lambda restart: self.done.append("restart" if restart else "end"),
        )

    async def open_remote(self, _: Bridge) -> FakeRemote:
        return self.remote

    def carried_out(self, *instructions: Instruction) -> list[Any]:
        """What is done at once when the front answers a message with these."""
        self.done.clear()
        self.front.answers.append(list(instructions))
        self.bridge.received(ADA, REQUEST)
        return list(self.done)


@pytest.fixture
async def world() -> World:
    return World()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_instructions_are_carried_out_at_once_and_in_order(world: World) -> None:
    await world.bridge.remote()
    done = world.carried_out(
        Publish(OUTPUT), ToProcess(REQUEST), ToClient(ADA, REPLY), Interrupt(REQUEST), ToProcess(REQUEST, control=True)
    )
    assert done == [OUTPUT, ("shell", REQUEST), (ADA, REPLY), ("interrupt", REQUEST), ("control", REQUEST)]
    assert world.front.calls == [("from_client", ADA, REQUEST)]


async def test_what_is_for_nobody_goes_nowhere(world: World) -> None:
    assert world.carried_out(ToClient("held by the front", REPLY), Publish(OUTPUT)) == [OUTPUT]


async def test_without_a_remote_kernel_nothing_is_sent_to_it(world: World) -> None:
    assert world.carried_out(ToProcess(REQUEST), Interrupt(REQUEST)) == []


async def test_shutting_down_is_told(world: World) -> None:
    assert world.carried_out(ToClient(ADA, REPLY), ShutDown(restart=True)) == [(ADA, REPLY), "restart"]


# back-pressure ----------------------------------------------------------------------------------------------------


async def test_a_message_is_taken_once_its_output_has_room(world: World) -> None:
    taken: list[str] = []
    world.bridge.frame_received(OUTPUT, lambda: taken.append("first"))
    world.output.has_room = False
    world.bridge.frame_received(OUTPUT, lambda: taken.append("second"))
    assert taken == ["first"]
    world.output.want_room.pop()()
    assert taken == ["first", "second"]


async def test_only_the_reply_of_a_cell_waits_for_output(world: World) -> None:
    world.output.is_behind = True
    assert world.carried_out(ToClient(ADA, REPLY), ToClient(ADA, OTHER_REPLY)) == [(ADA, OTHER_REPLY)]
    world.output.waiting.pop()()
    assert world.done == [(ADA, OTHER_REPLY), (ADA, REPLY)]


async def test_a_reply_does_not_wait_for_ever_and_comes_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perijove.kernel.bridge.REPLY_WAITS_AT_MOST_S", 0.0)
    world.output.is_behind = True
    assert world.carried_out(ToClient(ADA, REPLY)) == []
    await asyncio.sleep(0.01)
    assert world.done == [(ADA, REPLY)]
    world.output.waiting.pop()()
    assert world.done == [(ADA, REPLY)]


async def test_a_cells_reply_leaves_widgets_a_lead(world: World) -> None:
    world.carried_out(Publish(WIDGETS), ToClient(ADA, REPLY), ToClient(ADA, OTHER_REPLY), Publish(OUTPUT))
    assert world.done == [WIDGETS, (ADA, OTHER_REPLY), OUTPUT]
    await asyncio.sleep(WIDGETS_LEAD_S + 0.01)
    assert world.done[3:] == [(ADA, REPLY)]
    assert world.carried_out(ToClient(ADA, REPLY)) == [(ADA, REPLY)], "at once: the widgets were long ago"


async def test_no_reply_overtakes_one_that_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.carried_out(Publish(WIDGETS), ToClient(ADA, REPLY)) == [WIDGETS]
    monkeypatch.setattr("perijove.kernel.bridge.WIDGETS_LEAD_S", 0.0)
    eve = (b"eve",)
    assert world.carried_out(ToClient(eve, REPLY)) == []
    await world.bridge.close(restart=False)
    assert world.done == [(ADA, REPLY), (eve, REPLY)]


# the broker -------------------------------------------------------------------------------------------------------


async def test_the_front_is_told_that_there_is_a_gpu(world: World) -> None:
    world.carried_out(Attach())
    await settled()
    assert world.front.calls[1:] == []
    world.remote.attached.set_result(None)
    await settled()
    assert world.front.calls[1:] == [("attach_answered", None)]


async def test_the_front_is_told_why_there_is_none(world: World) -> None:
    error = NoSuchGpu("there is no B200")
    world.carried_out(Attach())
    world.remote.attached.set_exception(error)
    await settled()
    assert world.front.calls[1:] == [("attach_answered", error)]


async def test_a_mistake_of_ours_is_an_answer_too(world: World) -> None:
    world.carried_out(Attach())
    world.remote.attached.set_exception(KeyError("a bug"))
    await settled()
    ((name, error),) = world.front.calls[1:]
    assert name == "attach_answered"
    assert isinstance(error, PerijoveError)
    assert "a bug" in str(error)


async def test_a_cancelled_attach_is_not_answered(world: World) -> None:
    world.carried_out(Attach())
    await settled()
    world.carried_out(CancelAttach())
    await settled()
    assert [call[0] for call in world.front.calls] == ["from_client", "from_client"]
    assert world.remote.attached.cancelled()


async def test_the_latest_wish_to_be_woken_counts(world: World) -> None:
    world.carried_out(WakeUp(0.0), WakeUp(3600.0))
    await asyncio.sleep(0.01)
    assert ("tick",) not in world.front.calls
    world.carried_out(WakeUp(0.0))
    await asyncio.sleep(0.01)
    assert world.front.calls.count(("tick",)) == 1


async def test_the_end_says_goodbye_only_if_there_was_anything(world: World) -> None:
    assert await world.bridge.close(restart=False) is None
    assert world.done == []
    world.bridge.connect_early()
    await settled()
    assert await world.bridge.close(restart=False) is None
    assert world.done == ["connected early", "goodbye"]


async def test_a_restart_leaves_the_kernel_to_the_next(world: World) -> None:
    await world.bridge.remote()
    assert await world.bridge.close(restart=True) == "left"
    assert world.done == []
