"""Envelopes pass as they are, to where they may, and no faster than they are taken (docs/protocol.md §2)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from perijove.wire import link
from perijove.wire.envelope import CHUNK_BYTES, HEADER_BYTES, Kind
from perijove.wire.models import KernelState

from .conftest import RunningBroker
from .peers import dial, envelope

MIB = 1 << 20


async def test_both_ways_byte_for_byte(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        data = agent.data_link(kernel_id)
        assert client.view is not None
        assert client.view.incarnation is not None
        for size in (0, 1, 70_000, CHUNK_BYTES):
            message = envelope(client.view.incarnation, os.urandom(size), seq=size + 1)
            await client.connection.send(message)  # type: ignore[union-attr]
            assert await asyncio.wait_for(data.recv(), 5) == message
            await data.send(message)
            assert await client.received() == message


async def test_order_is_kept(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        data = agent.data_link(kernel_id)
        for seq in range(200):
            await client.send(b"x", seq=seq)
        seen = [int.from_bytes((await data.recv())[28:36], "little") for _ in range(200)]  # type: ignore[arg-type]
        assert seen == list(range(200))


async def test_a_cell_does_not_reach_a_suspended_process_but_its_output_can_be_fetched(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        await client.ask(link.ReleaseRequest)
        assert client.view is not None
        assert client.view.state is KernelState.SUSPENDED
        await client.send(b"execute")
        answer = await client.heard(link.Undeliverable)
        assert (answer.incarnation, answer.ended) == (client.view.incarnation, False)
        await client.send(b"", kind=Kind.RESUME)
        received = await asyncio.wait_for(agent.data_link(kernel_id).recv(), 5)
        assert received[1] == Kind.RESUME, "and the cell before it never arrived"


async def test_what_is_for_a_process_that_has_ended_is_undeliverable(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected(), broker.client(kernel_id).connected() as client:
        await client.send(b"execute", incarnation="ab" * 16)
        assert (await client.heard(link.Undeliverable)).ended
        await client.attach()
        await client.send(b"execute", incarnation="ab" * 16)
        assert (await client.heard(link.Undeliverable)).ended


async def test_nobody_reaches_another_kernels_process(broker: RunningBroker) -> None:
    mine, theirs = await broker.kernel("cpu"), await broker.kernel("cpu")
    client, other = broker.client(mine), broker.client(theirs)
    async with broker.agent().connected() as agent, client.connected(), other.connected():
        await client.attach()
        await other.attach()
        assert other.view is not None
        await client.send(b"execute", incarnation=other.view.incarnation)
        assert (await client.heard(link.Undeliverable)).ended
        await other.send(b"own")
        assert (await asyncio.wait_for(agent.data_link(theirs).recv(), 5))[HEADER_BYTES:] == b"own"


async def test_a_data_link_that_breaks_has_the_client_resume(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        await agent.data_link(kernel_id).close()
        await agent.open_data_link(agent.kernels[kernel_id])
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.close_code == 4001
        async with client.connected():
            await client.send(b"", kind=Kind.RESUME)
            assert (await asyncio.wait_for(agent.data_link(kernel_id).recv(), 5))[1] == Kind.RESUME


async def test_what_comes_before_the_data_link_waits_for_it(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    agent = broker.agent()
    agent.late_data_link = True
    async with agent.connected(), broker.client(kernel_id).connected() as client:
        await client.attach()
        await client.send(b"first", seq=1)
        await client.send(b"second", seq=2)
        await client.ask(link.AttachRequest)  # both have reached the broker
        data = await agent.open_data_link(agent.kernels[kernel_id])
        assert (await asyncio.wait_for(data.recv(), 5))[HEADER_BYTES:] == b"first"
        assert (await asyncio.wait_for(data.recv(), 5))[HEADER_BYTES:] == b"second"


async def test_a_slow_client_slows_the_kernel_and_fills_no_memory(broker: RunningBroker) -> None:
    """The client does not read; the agent wants to send 300 MiB. What gets out is what sockets buffer, and no more."""
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        assert client.connection is not None
        assert client.view is not None
        assert client.view.incarnation is not None
        client.connection.transport.pause_reading()
        message = envelope(client.view.incarnation, bytes(MIB))
        data = agent.data_link(kernel_id)
        before, sent = _resident_bytes(), 0

        async def send_on() -> None:
            nonlocal sent
            for _ in range(300):
                await data.send(message)
                sent += 1

        sending = asyncio.create_task(send_on())
        last = -1
        while sent != last:
            last = sent
            await asyncio.sleep(0.2)
        assert sent < 40, "the broker took what nobody reads"
        assert _resident_bytes() - before < 60 * MIB
        client.connection.transport.resume_reading()
        received = 0
        while received < 300:
            await client.received()
            received += 1
        await sending


async def test_a_slow_kernel_does_not_delay_another(broker: RunningBroker) -> None:
    slow, quick = await broker.kernel("cpu"), await broker.kernel("cpu")
    sleeper, client = broker.client(slow), broker.client(quick)
    async with broker.agent().connected() as agent, sleeper.connected(), client.connected():
        await sleeper.attach()
        await client.attach()
        assert sleeper.connection is not None
        assert sleeper.view is not None
        sleeper.connection.transport.pause_reading()
        message = envelope(str(sleeper.view.incarnation), bytes(MIB))

        async def flood() -> None:
            while True:
                await agent.data_link(slow).send(message)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.2)
        await client.send(b"hello")
        assert (await asyncio.wait_for(agent.data_link(quick).recv(), 5))[HEADER_BYTES:] == b"hello"
        flooding.cancel()
        sleeper.connection.transport.abort()


async def test_connections_do_not_wait_to_fill_packets(broker: RunningBroker) -> None:
    """Nagle's algorithm with delayed acknowledgements costs 40 ms per cell."""
    async with broker.client(await broker.kernel()).connected() as client:
        assert client.connection is not None
        ours = client.connection.transport.get_extra_info("sockname")
        nodelay = dict(_nodelay_of_connections())
        assert nodelay[ours]


async def test_what_is_no_envelope_closes_the_link(broker: RunningBroker) -> None:
    async with broker.client(await broker.kernel()).connected() as client:
        assert client.connection is not None
        await client.connection.send(b"short")
        await asyncio.wait_for(client.closed.wait(), 5)


async def test_an_oversized_message_closes_the_link(broker: RunningBroker) -> None:
    async with broker.client(await broker.kernel()).connected() as client:
        assert client.connection is not None
        await client.connection.send(bytes(2 * MIB))
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.close_code == 1009


async def test_a_process_of_another_agent_cannot_be_taken_over(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        await client.attach()
        path = f"{broker.url}/api/agents/processes/{agent.kernels[kernel_id]}/link"
        async with dial(path, broker.tokens["other-agent"]) as intruder:
            await asyncio.wait_for(intruder.wait_closed(), 5)
        await client.send(b"still")
        assert (await asyncio.wait_for(agent.data_link(kernel_id).recv(), 5))[HEADER_BYTES:] == b"still"


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _nodelay_of_connections() -> list[tuple[tuple[str, int], int]]:
    """Every TCP connection of this process, the broker's ends among them: the peer, and TCP_NODELAY."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(descriptor))) as candidate:
            if candidate.family == socket.AF_INET:
                option = candidate.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                found.append((candidate.getpeername(), option))
    return found
