"""What goes into one write of a data link, and that nothing waits for long to go with something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from perijove.remote_agent.data_link import DataLink
from perijove.remote_agent.overflow import Overflow
from perijove.remote_agent.spool import Spool
from perijove.remote_agent.streams import KernelStreams
from perijove.wire.envelope import unpack
from websockets.frames import Frame
from websockets.protocol import OPEN, Protocol, Side

INCARNATION = bytes(16)


class Broker:
    """The data link's connection, and what was written to it."""

    def __init__(self) -> None:
        self.protocol = Protocol(Side.CLIENT, state=OPEN)
        self.transport = self
        self.writes: list[list[bytes]] = []
        self.written = asyncio.Event()
        self._receiver = Protocol(Side.SERVER, state=OPEN, max_size=None)

    def write(self, data: bytes) -> None:
        self._receiver.receive_data(data)
        frames = [event for event in self._receiver.events_received() if isinstance(event, Frame)]
        self.writes.append([bytes(unpack(bytes(frame.data)).payload) for frame in frames])
        self.written.set()

    @contextlib.asynccontextmanager
    async def send_context(self) -> AsyncIterator[None]:
        yield

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


@contextlib.asynccontextmanager
async def open_link(directory: Path, broker: Broker) -> AsyncIterator[tuple[DataLink, Spool]]:
    @contextlib.asynccontextmanager
    async def dial(path: str) -> AsyncIterator[Any]:
        yield broker

    spool = Spool(Overflow(directory / "spool"), 1 << 30)
    link = DataLink(
        dial,  # type: ignore[arg-type]
        INCARNATION,
        KernelStreams(INCARNATION, spool),
        lambda arrival: None,
        lambda envelope: None,
        lambda: None,
    )
    running = asyncio.create_task(link.run())
    await link.opened.wait()
    await link.flushed(5)
    yield link, spool
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_waits_for_its_fellow_goes_with_it(tmp_path: Path):
    broker = Broker()
    async with open_link(tmp_path, broker) as (link, spool):
        spool.append(b"busy")
        link.wake_soon()
        spool.append(b"execute_input")
        link.wake()
        await broker.written.wait()
        assert broker.writes == [[b"busy", b"execute_input"]]


async def test_what_waits_in_vain_goes_by_itself(tmp_path: Path):
    broker = Broker()
    async with open_link(tmp_path, broker) as (link, spool):
        spool.append(b"execute_reply")
        link.wake_soon()
        async with asyncio.timeout(5):
            await broker.written.wait()
        assert broker.writes == [[b"execute_reply"]]


async def test_flushing_does_not_wait_for_more(tmp_path: Path):
    broker = Broker()
    async with open_link(tmp_path, broker) as (link, spool):
        spool.append(b"last words")
        link.wake_soon()
        await link.flushed(5)
        assert broker.writes == [[b"last words"]]


@pytest.mark.parametrize("size", [1 << 20, 70 << 10])
async def test_large_messages_go_one_at_a_time(tmp_path: Path, size: int):
    broker = Broker()
    async with open_link(tmp_path, broker) as (link, spool):
        for _ in range(3):
            spool.append(bytes(size))
        link.wake()
        await link.flushed(5)
        assert [len(write) for write in broker.writes] == [1, 1, 1]
