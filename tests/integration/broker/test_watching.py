"""A client that watches its kernel is told what it does, as its agent says it (docs/protocol.md §3)."""

from __future__ import annotations

import asyncio

import pytest
from perijove.wire import link
from perijove.wire.models import KernelState

from .conftest import RunningBroker
from .peers import gpus
from .test_usage import usage


async def test_from_now_on_and_what_was_before(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent:
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.say(link.Watch(on=True))
            nothing = (await client.heard(link.UsageMessage)).usage
            assert not nothing.live
            assert nothing.reason == "no GPU has been asked for yet"
            await client.attach()
            for _ in range(2):
                await agent.say(usage(agent, kernel_id))
                (sample,) = (await client.heard(link.UsageMessage)).usage.samples
                assert sample.gpus[0].utilization_percent == 87.0
            await client.say(link.Watch(on=False))
            await agent.say(usage(agent, kernel_id))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.heard(link.UsageMessage)
        async with broker.client(kernel_id).connected() as client:
            await client.say(link.Watch(on=True))
            assert len((await client.heard(link.UsageMessage)).usage.samples) == 3


async def test_another_agents_word_about_it_is_not_passed_on(broker: RunningBroker) -> None:
    async with (
        broker.agent().connected() as agent,
        broker.agent(id="agent-b", gpus=gpus(1, host="host-b")).connected() as other,
    ):
        kernel_id = await broker.kernel("H100")
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await client.say(link.Watch(on=True))
            await client.heard(link.UsageMessage)
            holder = client.view.gpus.agent_id if client.view and client.view.gpus else ""
            stranger = other if holder == agent.id else agent
            await stranger.say(usage(stranger, kernel_id))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.heard(link.UsageMessage)


async def test_keeping_over_the_api(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            http = broker.as_("ada")
            done = await http.post(f"/api/kernels/{kernel_id}/keep", json={"seconds": 600})
            assert done.status_code == 200, done.text
            assert done.json()["perijove"]["release_in_s"] > 600
            view = await client.became(KernelState.ATTACHED)
            assert view.idle_timeout_s < 600
            refused = await http.post(f"/api/kernels/{kernel_id}/keep", json={"seconds": 100_000})
            assert refused.status_code == 422
            assert (
                await broker.as_("bob").post(f"/api/kernels/{kernel_id}/keep", json={"seconds": 1})
            ).status_code == 404
            entries = (await broker.as_("root").get("/api/audit")).json()["entries"]
            assert [entry["actor"] for entry in entries if entry["action"] == "keep_gpu"] == ["ada"]
