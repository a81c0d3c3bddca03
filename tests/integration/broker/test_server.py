"""A broker as a process: it says where it is, stops when told, and goes when nobody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from perijove.broker.errors import SettingsError
from perijove.broker.server import serve
from perijove.broker.settings import BrokerSettings

from .conftest import RunningBroker
from .peers import until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]
PROGRAM = """
import asyncio, sys
from pathlib import Path
from perijove.broker.server import serve
from perijove.broker.settings import BrokerSettings
asyncio.run(serve(BrokerSettings(data_dir=Path(sys.argv[1]), port=0, ready_file=Path(sys.argv[2]))))
"""


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM, str(tmp_path / "data"), str(tmp_path / "ready.json")),
        stderr=asyncio.subprocess.PIPE,
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stops_cleanly_when_told(process: asyncio.subprocess.Process, tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready.json"
    async with asyncio.timeout(20):
        while not ready.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
    document = json.loads(ready.read_text())
    assert document["pid"] == process.pid
    assert document.keys() == {"url", "pid", "version"}
    os.kill(process.pid, number)
    async with asyncio.timeout(10):
        _, written = await process.communicate()
    assert process.returncode == 0, written.decode()
    assert written == b"", "nothing to say"
    assert not ready.exists()


async def test_goes_when_nobody_needs_it(start: Start) -> None:
    async with start(exit_when_unused_s=0.2) as broker:
        await asyncio.wait_for(broker.task, 5)
        assert broker.settings.ready_file is not None
        assert not broker.settings.ready_file.exists()


async def test_stays_while_somebody_is_linked_or_could_come_back_for_variables(start: Start) -> None:
    async with start(exit_when_unused_s=0.5, away_timeout_s=0.1) as broker:
        kernel_id = await broker.kernel()
        async with broker.agent().connected() as agent:
            async with broker.client(kernel_id).connected() as client:
                await client.attach()
                await _pass(0.7)
                assert not broker.task.done()
            await until(lambda: kernel_id not in agent.leases)
            await _pass(0.7)
            assert not broker.task.done(), "a suspended kernel keeps its variables"
            await broker.as_("ada").delete(f"/api/kernels/{kernel_id}")
            await asyncio.wait_for(broker.task, 5)


async def test_a_port_that_is_taken_is_said(broker: RunningBroker, settings: BrokerSettings, tmp_path: Path) -> None:
    port = int(broker.url.rsplit(":", 1)[1])
    taken = BrokerSettings(data_dir=tmp_path / "other", port=port)
    with pytest.raises(SettingsError, match=f"port {port}"):
        await serve(taken)


async def test_an_allowance_shorter_than_two_renewals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="too short"):
        await serve(BrokerSettings(data_dir=tmp_path, allowance_s=5, renew_every_s=5))


async def _pass(seconds: float) -> None:
    """Real time: what is tested is that nothing happens."""
    for _ in range(round(seconds / 0.1)):
        await asyncio.sleep(0.1)
