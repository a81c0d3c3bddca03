from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from perijove.remote_agent import agent as agent_module
from perijove.remote_agent.settings import AgentSettings
from perijove.wire.control import Hello, Inventory

from . import nvml_stand_in
from .fake_broker import TOKEN, FakeBroker
from .nvml_programs import Program, programs


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml_stand_in.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def run(nvml_library: Path, tmp_path: Path) -> Program:
    """Runs a program in whose world ``state(text)`` and others change what the driver says; gives what it prints."""
    return programs(nvml_library, tmp_path)


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    broker = FakeBroker()
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
def settings(broker: FakeBroker, tmp_path: Path) -> AgentSettings:
    return AgentSettings(
        broker_url=broker.url,
        token=TOKEN,
        data_dir=tmp_path / "agent",
        name="test-agent",
        simulate=(("H100", 2),),
        spares=1,
    )


@pytest.fixture
async def agent(settings: AgentSettings, broker: FakeBroker) -> AsyncIterator[Hello]:
    """An agent in this process, with a spare ready; gives the Hello that it said."""
    task = asyncio.create_task(agent_module.run(settings))
    said = asyncio.create_task(broker.until(Hello))
    await asyncio.wait({task, said}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        said.cancel()
        await task
    hello = await said
    if settings.spares and not hello.spares:
        await broker.until(Inventory, lambda inventory: inventory.spares > 0)
    yield hello
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
