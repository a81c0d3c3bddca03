"""A client's channel over real sockets: its session, and another GPU spec for its kernel (docs/protocol.md §3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from perijove.client.address import BrokerAddress
from perijove.client.channel import KernelChannel
from perijove.wire import control
from perijove.wire.errors import InvalidGpuSpec, PerijoveError, VariablesElsewhere
from perijove.wire.jupyter_frames import JupyterFrame
from perijove.wire.models import KernelState, KernelView

from .conftest import RunningBroker
from .peers import gpus


class Deaf:
    """A listener for tests that look at the channel alone."""

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None: ...
    def state_changed(self, view: KernelView) -> None: ...
    def incarnation_changed(self, view: KernelView) -> None: ...
    def usage_received(self, usage: object) -> None: ...
    def undeliverable(self) -> None: ...
    def messages_lost(self, count: int) -> None: ...
    def connection_changed(self, connected: bool) -> None: ...
    def failed(self, error: PerijoveError) -> None: ...


@contextlib.asynccontextmanager
async def channel_to(broker: RunningBroker, kernel_id: str, session: str = "") -> AsyncIterator[KernelChannel]:
    async def find_broker() -> BrokerAddress:
        return BrokerAddress(broker.url, broker.tokens["ada"])

    channel = KernelChannel(find_broker, kernel_id, Deaf(), "1", session=session)
    running = asyncio.create_task(channel.run())
    try:
        yield channel
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_the_session_reaches_the_agent(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    async with broker.agent().connected() as agent, channel_to(broker, kernel_id, "a session") as channel:
        await channel.attach()
        await channel.restart()
    sessions = [message.session for message in agent.heard if isinstance(message, control.Bind | control.Restart)]
    assert sessions == ["a session", "a session"]


async def test_a_session_that_is_too_long_is_refused(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    with pytest.raises(ValueError, match="128"):
        async with channel_to(broker, kernel_id, "x" * 129):
            pass


async def test_another_gpu_of_the_same_host_and_one_that_it_has_not(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel("H100")
    agent = broker.agent(gpus=[*gpus(1), *gpus(1, "T4", host="host-a-2")])
    async with agent.connected(), channel_to(broker, kernel_id) as channel:
        first = await channel.attach()
        assert first.gpus is not None
        assert first.gpus.model == "H100"

        view = await channel.attach("T4")
        assert view.gpus is not None
        assert (view.gpus.model, view.gpu_spec) == ("T4", "T4")
        assert view.incarnation == first.incarnation, "the process was kept"

        with pytest.raises(VariablesElsewhere, match="%gpu restart A100"):
            await channel.attach("A100")
        with pytest.raises(InvalidGpuSpec):
            await channel.attach("A100::")
        assert channel.view is not None
        assert (channel.view.state, channel.view.gpu_spec) == (KernelState.ATTACHED, "T4")

        await channel.restart("H100")
        assert channel.view.state is KernelState.DETACHED
        view = await channel.attach()
        assert view.gpus is not None
        assert view.gpus.model == "H100"
        assert view.incarnation != first.incarnation
