"""A real broker on loopback, in the test's own loop, with tokens for two users, two agents and an admin."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from perijove.broker.server import create_token, serve
from perijove.broker.settings import BrokerSettings

from .peers import FakeAgent, FakeClient


@dataclass
class RunningBroker:
    settings: BrokerSettings
    url: str
    tokens: dict[str, str]
    task: asyncio.Task[None]
    http: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    def as_(self, name: str) -> httpx.AsyncClient:
        if name not in self.http:
            headers = {"Authorization": f"Bearer {self.tokens[name]}"}
            self.http[name] = httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False)
        return self.http[name]

    def agent(self, **options: Any) -> FakeAgent:
        return FakeAgent(self.url, self.tokens["agent"], **options)

    def client(self, kernel_id: str, user: str = "ada") -> FakeClient:
        return FakeClient(self.url, self.tokens[user], kernel_id)

    async def kernel(self, spec: str = "H100", user: str = "ada", **wishes: Any) -> str:
        response = await self.as_(user).post("/api/kernels", json={"perijove": {"gpu": spec, **wishes}})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def bill(self, user: str = "ada", **params: Any) -> dict[str, Any]:
        response = await self.as_(user).get("/api/bill", params=params)
        assert response.status_code == 200, response.text
        return dict(response.json())


@contextlib.asynccontextmanager
async def running(settings: BrokerSettings, tokens: dict[str, str]) -> AsyncIterator[RunningBroker]:
    assert settings.ready_file is not None
    task = asyncio.create_task(serve(settings))
    async with asyncio.timeout(10):
        while not settings.ready_file.exists():
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
    broker = RunningBroker(settings, json.loads(settings.ready_file.read_text())["url"], tokens, task)
    try:
        yield broker
    finally:
        for http in broker.http.values():
            await http.aclose()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def settings(tmp_path: Path) -> BrokerSettings:
    return BrokerSettings(data_dir=tmp_path / "data", port=0, ready_file=tmp_path / "ready.json")


@pytest.fixture
def tokens(settings: BrokerSettings) -> dict[str, str]:
    names = {"ada": "user", "bob": "user", "agent": "agent", "other-agent": "agent", "root": "admin"}
    return {name: create_token(settings, role, name) for name, role in names.items()}


@pytest.fixture
async def broker(settings: BrokerSettings, tokens: dict[str, str]) -> AsyncIterator[RunningBroker]:
    async with running(settings, tokens) as broker:
        yield broker


@pytest.fixture
def start(
    settings: BrokerSettings, tokens: dict[str, str]
) -> Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]:
    """Start a broker with other settings; twice over the same data is a restart."""

    def start(**changes: Any) -> contextlib.AbstractAsyncContextManager[RunningBroker]:
        return running(replace(settings, **changes), tokens)

    return start
