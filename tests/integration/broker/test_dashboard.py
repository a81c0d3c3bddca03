"""The broker's page over HTTP: its files, what the stream tells whom, and what can be done from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from perijove.wire.states import KernelState

from .conftest import RunningBroker
from .test_usage import until, usage


class Watcher:
    """Reads ``/api/live``; ``told`` has the newest event of each kind."""

    def __init__(self, response: httpx.Response) -> None:
        self.told: dict[str, Any] = {}
        self.count = 0
        self._lines = response.aiter_lines()

    async def until(self, condition: Any) -> dict[str, Any]:
        name = ""
        async with asyncio.timeout(15):
            while not ("spending" in self.told and condition(self.told)):  # the last of the first round
                line = await anext(self._lines)
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self._take(name, json.loads(line.removeprefix("data: ")))
                    self.count += 1
        return self.told

    def _take(self, name: str, document: Any) -> None:
        """As the page does it: what has changed in the fleet goes into what was told of it."""
        self.told[name] = document
        if name == "agents" and "fleet" in self.told:
            agents = {agent["id"]: agent for agent in self.told["fleet"]["agents"]}
            agents |= {agent["id"]: agent for agent in document["changed"]}
            kept = [agent for agent_id, agent in agents.items() if agent_id not in document["gone"]]
            self.told["fleet"]["agents"] = kept


@contextlib.asynccontextmanager
async def watching(broker: RunningBroker, user: str) -> AsyncIterator[Watcher]:
    async with broker.as_(user).stream("GET", "/api/live", timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Watcher(response)


async def test_the_page_takes_nothing_from_elsewhere(broker: RunningBroker) -> None:
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as anybody:
        page = await anybody.get("/")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "<form" not in page.text  # VS Code would take it for a log-in and ask for a password
        for name in ("dashboard.js", "dashboard.css", "figures.js", "money.js"):
            assert (await anybody.get(f"/dashboard/{name}")).status_code == 200
            assert "://" not in (await anybody.get(f"/dashboard/{name}")).text.replace("http://www.w3.org/2000/svg", "")
        for name in ("../app.py", "%2e%2e%2fapp.py", "nothing.js", ""):
            assert (await anybody.get(f"/dashboard/{name}")).status_code == 404
        assert (await anybody.get("/api/live")).status_code == 401


async def test_what_a_watcher_is_told(broker: RunningBroker) -> None:
    async with broker.agent().connected() as agent, watching(broker, "ada") as ada, watching(broker, "bob") as bob:
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            await agent.say(usage(agent, kernel_id))
            told = await ada.until(lambda told: told["mine"]["kernels"] and told["figures"]["gpus"])
            assert told["figures"]["gpus"][agent.gpus[0].uuid][:3] == [87.0, None, 600_000]
            told = await ada.until(lambda told: told["mine"]["kernels"][0]["usage"] and "total" in told["latency"])
            (kernel,) = told["mine"]["kernels"]
            assert kernel["lease"]["cost_nanodollars"] > 0
            assert kernel["usage"]["processes"] == 3
            assert told["latency"]["total"]["count"] == 1
            assert 0 < told["latency"]["total"]["p50"] <= told["latency"]["total"]["p99"]
            told = await ada.until(lambda told: "ada" in told["spending"].get("month", {}))
            assert told["me"] == {"name": "ada", "role": "user"}

            told = await bob.until(
                lambda told: any(gpu["state"] == "held" for agent in told["fleet"]["agents"] for gpu in agent["gpus"])
            )
            assert told["mine"]["kernels"] == []
            assert told["me"]["name"] == "bob"
            assert "ada" not in json.dumps(told)

            async with watching(broker, "root") as root:
                told = await root.until(lambda told: "ada" in told.get("spending", {}).get("month", {}))
                assert [kernel["user"] for kernel in told["mine"]["kernels"]] == ["ada"]


async def test_budgets_are_told_to_whom_they_concern(broker: RunningBroker) -> None:
    async with broker.agent().connected(), watching(broker, "ada") as ada, watching(broker, "root") as root:
        await ada.until(lambda told: told["limits"] == {})
        for who, scope, dollars in (("root", "month", "50"), ("ada", "month", "20"), ("root", "kernel", "5")):
            body = {"scope": scope, "dollars": dollars}
            assert (await broker.as_(who).put("/api/limits/ada", json=body)).status_code == 200
        assert (await broker.as_("bob").put("/api/limits/bob", json={"scope": "user", "dollars": 9})).status_code == 200
        of_ada = {"month": [20_000_000_000, "ada", False], "kernel": [5_000_000_000, "root", True]}
        await ada.until(lambda told: told["limits"] == {"ada": of_ada})
        of_bob = {"user": [9_000_000_000, "bob", False]}
        await root.until(lambda told: told["limits"] == {"ada": of_ada, "bob": of_bob})
        async with broker.client(await broker.kernel()).connected() as client:
            await client.attach()
            await ada.until(lambda told: sum(told["spending"]["ever"].get("ada", {}).values()) > 0)
            assert set(ada.told["spending"]["ever"]) == {"ada"}


async def test_what_does_not_change_is_not_sent_again(broker: RunningBroker) -> None:
    async with broker.agent().connected(), watching(broker, "bob") as bob:
        await bob.until(lambda told: told["fleet"]["agents"] and "spending" in told)
        fleet = bob.told.pop("fleet")
        at = bob.told["figures"]["at"]
        await bob.until(lambda told: told["figures"]["at"] > at + 1500)
        assert "fleet" not in bob.told
        assert fleet["agents"][0]["gpus"]


async def test_releasing_and_limiting_from_outside(broker: RunningBroker) -> None:
    async with broker.agent().connected():
        kernel_id = await broker.kernel()
        ada, bob, root = (broker.as_(name) for name in ("ada", "bob", "root"))
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            for path, method, body in (("release", "POST", None), ("budget", "PUT", {"dollars": "1"})):
                refused = await bob.request(method, f"/api/kernels/{kernel_id}/{path}", json=body)
                assert refused.status_code == 404
            budget = await root.put(f"/api/kernels/{kernel_id}/budget", json={"dollars": "2.5"})
            assert budget.json()["perijove"]["budget_nanodollars"] == 2_500_000_000
            assert (await ada.post(f"/api/kernels/{kernel_id}/release")).status_code == 202

            async def state() -> str:
                return str((await ada.get(f"/api/kernels/{kernel_id}")).json()["perijove"]["state"])

            await until(state, lambda state: state in (KernelState.SUSPENDED, KernelState.DETACHED))
        none = await ada.put(f"/api/kernels/{kernel_id}/budget", json={"dollars": None})
        assert none.json()["perijove"]["budget_nanodollars"] is None
        entries = (await root.get("/api/audit")).json()["entries"]
        done = {entry["action"]: entry["actor"] for entry in reversed(entries)}
        assert (done["release"], done["set_budget"]) == ("ada", "ada")  # root's budget was before


@pytest.mark.parametrize("body", [{}, {"dollars": -1}, {"dollars": "much"}, {"dollars": "1e300"}, {"euros": 1}])
async def test_a_budget_that_cannot_be_read(broker: RunningBroker, body: dict[str, Any]) -> None:
    kernel_id = await broker.kernel()
    refused = await broker.as_("ada").put(f"/api/kernels/{kernel_id}/budget", json=body)
    assert refused.status_code == 422
    assert "dollars" in refused.json()["message"] or "euros" in refused.json()["message"]
