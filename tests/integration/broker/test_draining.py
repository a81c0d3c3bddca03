"""Draining over HTTP: who may, what it answers, what agents and notebooks notice, and that it lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from perijove.wire import control, link
from perijove.wire.models import KernelState

from .conftest import RunningBroker
from .test_dashboard import watching
from .test_usage import until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]


async def agent_of(broker: RunningBroker, user: str = "ada") -> dict[str, Any]:
    (agent,) = (await broker.as_(user).get("/api/agents")).json()
    return dict(agent)


async def drain(broker: RunningBroker, user: str = "root", **wish: Any) -> Any:
    return await broker.as_(user).post("/api/agents/agent-a/drain", json=wish or None)


async def test_only_admins_may(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        for user in ("ada", "agent"):
            assert (await drain(broker, user)).status_code == 403
            assert (await broker.as_(user).delete("/api/agents/agent-a/drain")).status_code == 403
        assert (await agent_of(broker))["state"] == "connected"
        assert (await agent_of(broker))["drain"] is None


async def test_an_agent_is_emptied_and_taken_up_again(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent:
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.activity(kernel_id, busy=True)
            await until(lambda: kernel_is_busy(broker, kernel_id), bool)
            answer = await drain(broker)
            assert answer.status_code == 202
            assert answer.json()["state"] == "draining"
            assert answer.json()["drain"]["asked_by"] == "root"
            assert answer.json()["drain"]["leases"] == 1
            status = (await broker.as_("ada").get("/api/status")).json()
            assert status["agents"][0]["state"] == "draining"
            assert status["kernels"][0]["draining"] == "host-a is draining (asked by root)"

            await agent.activity(kernel_id, busy=False)
            await client.became(KernelState.SUSPENDED)
            released = next(message for message in agent.heard if isinstance(message, control.Release))
            assert (released.keep, released.only_if_idle) == (True, True)
            emptied = await agent_of(broker)
            assert (emptied["state"], emptied["drain"]["leases"], emptied["drain"]["suspended"]) == ("drained", 0, 1)
            reply = await client.attach()
            assert reply.code == "variables_elsewhere"

            undone = await broker.as_("root").delete("/api/agents/agent-a/drain")
            assert (undone.json()["state"], undone.json()["drain"]) == ("connected", None)
            assert (await client.attach()).code == ""


async def kernel_is_busy(broker: RunningBroker, kernel_id: str) -> bool:
    return (await broker.as_("ada").get(f"/api/kernels/{kernel_id}")).json()["execution_state"] == "busy"


async def test_at_the_deadline_what_runs_is_released(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent:
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.activity(kernel_id, busy=True)
            await until(lambda: kernel_is_busy(broker, kernel_id), bool)
            answer = await drain(broker, within_s=0.3)
            assert answer.json()["drain"]["release_at"] is not None
            await client.became(KernelState.SUSPENDED)
            released = next(message for message in agent.heard if isinstance(message, control.Release))
            assert not released.only_if_idle
        entries = (await broker.as_("root").get("/api/audit")).json()["entries"]
        actors = {entry["action"]: (entry["actor"], entry["via"]) for entry in entries}
        assert actors["release"] == ("drain", "rule")


async def test_what_is_not_understood(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        root = broker.as_("root")
        for wish in ({"within_s": -1}, {"within_s": 1e12}, {"within": 5}, {"within_s": "soon"}):
            assert (await drain(broker, **wish)).status_code == 422
        for method in ("POST", "DELETE"):
            missing = await root.request(method, "/api/agents/nobody/drain")
            assert missing.status_code == 404
            assert missing.json()["code"] == "no_such_agent"
        assert (await root.delete("/api/agents/agent-a/drain")).status_code == 200  # there is nothing to undo


async def test_it_is_kept_over_a_restart_and_undone_when_the_agent_is_gone(start: Start) -> None:
    async with start() as broker, broker.agent().connected():
        await drain(broker, within_s=600)
    async with start() as broker:
        async with broker.agent().connected():
            again = await agent_of(broker)
            assert again["state"] == "drained"
            assert again["drain"]["asked_by"] == "root"
            assert again["drain"]["release_at"] is not None
            kernel_id = await broker.kernel()
            async with broker.client(kernel_id).connected() as client:
                await client.say(link.AttachRequest(request_id="waits"))
                waiting = await client.became(KernelState.QUEUED)
                assert waiting.queue_reason.endswith("1st in line: host-a is draining (asked by root)")
        undone = await broker.as_("root").delete("/api/agents/agent-a/drain")
        assert (undone.json()["state"], undone.json()["drain"]) == ("away", None)
    async with start() as broker, broker.agent().connected():
        assert (await agent_of(broker))["state"] == "connected"


async def test_who_asked_is_in_the_audit_log(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        await drain(broker, within_s=60)
        await broker.as_("root").delete("/api/agents/agent-a/drain")
        await broker.as_("root").delete("/api/agents/agent-a/drain")
        entries = [e for e in (await broker.as_("root").get("/api/audit")).json()["entries"] if e["via"] != "command"]
        assert [(e["action"], e["actor"], e["via"]) for e in entries] == [
            ("undrain_agent", "root", "api"),
            ("drain_agent", "root", "api"),
        ]
        assert entries[1]["detail"] == {"agent": "agent-a", "within_s": 60.0}


async def test_an_agent_says_itself_that_it_is_about_to_stop(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent:
        await agent.say(control.Inventory(gpus=agent.gpus, draining=True))
        told = await until(lambda: agent_of(broker), lambda agent: agent["state"] == "drained")
        assert (told["drain"]["asked_by"], told["drain"]["by_agent"]) == ("the agent itself", True)
        still = await broker.as_("root").delete("/api/agents/agent-a/drain")
        assert still.json()["state"] == "drained"
        assert (await drain(broker)).json()["drain"]["by_agent"] is False


async def test_watchers_are_told_at_once_and_only_what_has_changed(broker: RunningBroker) -> None:
    other = broker.agent(id="agent-b", name="host-b")
    async with broker.agent().connected(), other.connected(), watching(broker, "bob") as bob:
        told = await bob.until(lambda told: len(told["fleet"]["agents"]) == 2)
        await drain(broker)
        told = await bob.until(lambda told: any(agent["state"] == "drained" for agent in told["fleet"]["agents"]))
        (changed,) = told["agents"]["changed"]
        assert (changed["name"], changed["drain"]["asked_by"], told["agents"]["gone"]) == ("host-a", "root", [])
        assert len(told["fleet"]["agents"]) == 2
