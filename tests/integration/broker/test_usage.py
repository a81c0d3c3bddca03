"""What agents report, as it is asked for over the API: by whom it concerns, and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from perijove.wire import link
from perijove.wire.usage import GpuSample, HostSample, KernelSample, OwnGpu, Usage

from .conftest import RunningBroker
from .peers import FakeAgent

HOST = HostSample(cpu_percent=12.5, cores=2, memory_used_bytes=1, memory_total_bytes=2)


def usage(agent: FakeAgent, kernel_id: str) -> Usage:
    uuid = agent.gpus[0].uuid
    kernel = KernelSample(
        kernel_id=kernel_id, processes=3, cpu_percent=250.0, memory_bytes=100, gpus=[OwnGpu(uuid=uuid)]
    )
    gpu = GpuSample(uuid=uuid, simulated=True, utilization_percent=87.0, power_milliwatts=600_000)
    return Usage(host=HOST, gpus=[gpu], kernels=[kernel])


async def asked(broker: RunningBroker, kernel_id: str, user: str = "ada") -> dict[str, Any]:
    response = await broker.as_(user).get(f"/api/kernels/{kernel_id}/usage")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def gpu_usage(broker: RunningBroker) -> Any:
    return (await broker.as_("ada").get("/api/gpus")).json()["gpus"][0]["usage"]


async def until(ask: Callable[[], Awaitable[Any]], condition: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(5):
        while True:
            if condition(answer := await ask()):
                return answer
            await asyncio.sleep(0.01)


async def test_a_kernels_usage(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent:
        kernel_id = await broker.kernel()
        nothing = await asked(broker, kernel_id)
        assert (nothing["live"], nothing["samples"]) == (False, [])
        assert nothing["reason"] == "no GPU has been asked for yet"
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.say(usage(agent, kernel_id))
            answer = await until(lambda: asked(broker, kernel_id), lambda answer: answer["live"])
            (sample,) = answer["samples"]
            assert (sample["processes"], sample["cpu_percent"]) == (3, 250.0)
            (gpu,) = sample["gpus"]
            assert (gpu["utilization_percent"], gpu["simulated"], gpu["own_memory_bytes"]) == (87.0, True, None)
            assert answer["host"]["cpu_percent"] == 12.5

            (shown,) = (await broker.as_("ada").get("/api/gpus")).json()["gpus"]
            assert shown["usage"]["power_milliwatts"] == 600_000
            (host,) = (await broker.as_("ada").get("/api/agents")).json()
            assert host["host"]["cores"] == 2
            await client.ask(link.ReleaseRequest)


async def test_nobody_sees_what_others_kernels_do(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel()
        assert (await broker.as_("bob").get(f"/api/kernels/{kernel_id}/usage")).status_code == 404
        assert (await asked(broker, kernel_id, "root"))["kernel_id"] == kernel_id


async def test_figures_end_with_the_agents_link(broker: RunningBroker) -> None:
    agent = broker.agent()
    async with agent.connected():
        await agent.say(usage(agent, "unknown"))
        await until(lambda: gpu_usage(broker), lambda usage: usage is not None)
    await until(lambda: gpu_usage(broker), lambda usage: usage is None)


async def test_prometheus_has_what_drivers_can_say(broker: RunningBroker) -> None:
    agent = broker.agent()
    async with agent.connected():
        await agent.say(usage(agent, "unknown"))
        await until(lambda: gpu_usage(broker), lambda usage: usage is not None)
        metrics = (await broker.as_("root").get("/metrics")).text
    labels = 'agent="agent-a",gpu="H100",index="0",simulated="true"'
    assert f"perijove_gpu_utilization_ratio{{{labels}}} 0.87\n" in metrics
    assert f"perijove_gpu_power_watts{{{labels}}} 600.0\n" in metrics
    assert "perijove_gpu_temperature_celsius{" not in metrics, "this driver cannot say it"
