"""IOPub with readers that pause, come late, or are gone: real sockets in this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zmq
from perijove.kernel.output import MOST_LARGE_BYTES, Output
from perijove.kernel.settings import CHANNELS, ConnectionInfo
from perijove.kernel.signing import Signer
from perijove.kernel.sockets import Sockets
from perijove.wire.front.messages import Writer
from perijove.wire.jupyter_frames import JupyterFrame

KEY = b"key"


class Reader:
    """A front-end's IOPub socket; reads when told to."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], port: int, topic: bytes = b"", hwm: int = 1000) -> None:
        self.socket = context.socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.rcvhwm = hwm
        self.socket.subscribe(topic)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self._signer = Signer(KEY, "hmac-sha256")

    async def message(self) -> tuple[bytes, JupyterFrame]:
        while True:
            with contextlib.suppress(zmq.Again):
                topic, *parts = self.socket.recv_multipart(zmq.NOBLOCK)
                _, frame = self._signer.opened("iopub", [topic, *parts])
                return topic, frame
            await asyncio.sleep(0.002)

    async def welcome(self) -> dict[str, str]:
        _, frame = await self.message()
        assert b'"iopub_welcome"' in bytes(frame.header)
        return dict(json.loads(bytes(frame.content)))

    async def texts(self, count: int) -> list[str]:
        return [json.loads(bytes((await self.message())[1].content))["text"] for _ in range(count)]


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.connection = ConnectionInfo(
            tmp_path / "kernel.json", "tcp", "127.0.0.1", dict.fromkeys(CHANNELS, 0), KEY, "hmac-sha256"
        )
        self.sockets = Sockets(self.connection)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.readers: list[Reader] = []
        ids = (str(number) for number in itertools.count())
        self.writer = Writer("session", lambda: next(ids))
        self.output = Output(self.sockets, self.writer, asyncio.get_running_loop())

    def reader(self, **options: object) -> Reader:
        reader = Reader(self.context, self.sockets.ports["iopub"], **options)  # type: ignore[arg-type]
        self.readers.append(reader)
        return reader

    def publish(self, text: str, name: str = "stdout", buffer: bytes | None = None) -> None:
        frame = self.writer.message("iopub", "stream", {"name": name, "text": text})
        if buffer is not None:
            frame = JupyterFrame("iopub", frame.header, frame.parent_header, frame.metadata, frame.content, (buffer,))
        self.output.publish(frame)

    def close(self) -> None:
        self.output.close()
        self.sockets.close(last_words_ms=0)
        for reader in self.readers:
            reader.socket.close()
        self.context.term()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


async def published_until_full(world: World, text: str = "x" * 500, buffer: bytes | None = None) -> int:
    """Publish until a reader that does not read is behind, for good."""
    count = 0
    while True:
        while not world.output.is_behind:
            world.publish(f"{count} {text}", buffer=buffer)
            count += 1
            assert count < 200_000, "there was always room"
        await asyncio.sleep(0.3)
        if world.output.is_behind:
            return count


async def test_each_new_reader_is_welcomed_to_what_it_asked_for(world: World) -> None:
    assert await world.reader().welcome() == {"subscription": ""}
    assert await world.reader().welcome() == {"subscription": ""}
    assert await world.reader(topic=b"stream.stderr").welcome() == {"subscription": "stream.stderr"}


async def test_topics_are_those_of_ipykernel(world: World) -> None:
    everything, errors = world.reader(), world.reader(topic=b"stream.stderr")
    await everything.welcome()
    await errors.welcome()
    world.publish("out")
    world.publish('{"name": "stdout"}', name="stderr")
    assert await errors.texts(1) == ['{"name": "stdout"}']
    topics = [topic for topic in [(await everything.message())[0] for _ in range(3)] if topic.startswith(b"stream.std")]
    assert topics[-2:] == [b"stream.stdout", b"stream.stderr"] or topics == [b"stream.stderr", b"stream.stdout"]


async def test_nobody_reads_and_nothing_waits(world: World) -> None:
    for number in range(5000):
        world.publish(str(number))
    assert not world.output.is_behind


async def test_a_reader_that_pauses_misses_nothing(world: World) -> None:
    reader = world.reader()
    await reader.welcome()
    count = await published_until_full(world)
    order: list[str] = []
    world.output.then(lambda: order.append("then"))
    world.publish("last")
    assert order == []
    texts = await reader.texts(count + 1)
    assert [text.split()[0] for text in texts] == [*map(str, range(count)), "last"]
    assert order == ["then"]
    assert not world.output.is_behind


async def test_whoever_makes_more_waits_once_much_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perijove.kernel.output.MOST_HELD_BYTES", 100_000)
    reader = world.reader()
    await reader.welcome()
    count = await published_until_full(world)
    went_on: list[int] = []
    while went_on == list(range(count, count + len(went_on))):
        number = count + len(went_on)
        world.publish(f"{number} " + "x" * 500)
        world.output.when_room(lambda number=number: went_on.append(number))  # type: ignore[misc]
        if not went_on or went_on[-1] != number:
            break
    assert 100 < len(went_on) < 200
    last = count + len(went_on)
    assert len(await reader.texts(last + 1)) == last + 1
    assert went_on[-1] == last


async def test_a_reader_that_pauses_does_not_hold_more_than_a_window(world: World) -> None:
    await world.reader(hwm=2).welcome()
    count = await published_until_full(world, buffer=b"\0" * (1 << 20))
    beyond_us = 32  # MiB: the reader's two messages, and what the system's socket buffers may take
    assert count <= (MOST_LARGE_BYTES >> 20) + beyond_us


async def test_large_messages_that_wait_go_on_when_there_is_room(world: World) -> None:
    reader = world.reader()
    await reader.welcome()
    for number in range(100):
        world.publish(str(number), buffer=b"\0" * (2 << 20))
    assert world.output.is_behind
    assert await reader.texts(100) == [str(number) for number in range(100)]


async def test_a_reader_that_is_gone_holds_nobody_up(world: World) -> None:
    reader, gone = world.reader(), world.reader()
    await reader.welcome()
    await gone.welcome()
    with contextlib.suppress(zmq.Again):
        reader.socket.recv_multipart(zmq.NOBLOCK)  # the other one's welcome
    reading = asyncio.create_task(read_until(reader, "last"))
    count = await published_until_full(world)
    world.publish("last")
    gone.socket.close()
    async with asyncio.timeout(20):
        texts = await reading
    assert [text.split()[0] for text in texts if text] == [*map(str, range(count)), "last"]


async def read_until(reader: Reader, last: str) -> list[str]:
    texts: list[str] = []
    while not texts or texts[-1] != last:
        content = json.loads(bytes((await reader.message())[1].content))
        texts.append(content.get("text", ""))
    return texts


async def test_a_stuck_front_end_is_told_of_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("perijove.kernel.output._STUCK_AFTER_S", 0.2)
    await world.reader().welcome()
    await published_until_full(world)
    await asyncio.sleep(0.5)
    assert [record.message for record in caplog.records if "has not read its output" in record.message] != []
    assert len(caplog.records) == 1
