"""What it costs the broker to be watched: agents that report each second, attached kernels, and open pages.

The broker is a process of its own, and its processor time is the scheduler's account of that process: what the load
costs those who make it, and how busy the machine is with it, is not in the figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from perijove.broker.server import create_token
from perijove.broker.settings import BrokerSettings
from perijove.wire import link

from .effort import Effort
from .figures import Figure, Mark, milliseconds
from .home import Home
from .measure import Timings
from .peers.fleet import MODEL, StandInAgent, StandInClient, new_kernel

SUBJECT = "watching"
HALF_A_CORE = Mark(0.5, at_least=False, meaning="of a core")
GPUS_EACH = 8
USERS = 25
ATTACH_EVERY_S = 0.25
SETTLE_S = 5.0  # for what agents and pages say once
START_WITHIN_S = 120.0
PROBE_GPU = "L4"  # whose agent is the benchmark's own


@dataclass(frozen=True, slots=True)
class Share:
    """What the broker's process used while it was measured."""

    of_a_core: float
    megabytes: float
    seconds: float


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    size = f"{effort.watched_agents} agents × {GPUS_EACH} simulated GPUs at 1 Hz, {effort.watched_kernels} kernels"
    with ExitStack() as stack:
        broker = stack.enter_context(_broker(here.directory / "watching"))
        at_most_s = START_WITHIN_S + 2 * SETTLE_S + 2 * effort.watched_s + 30
        stack.enter_context(
            _beside(
                "fleet",
                {
                    "url": broker.url,
                    "agent_token": broker.token("agent", "agents"),
                    "user_tokens": [broker.token("user", f"user-{number}") for number in range(USERS)],
                    "agents": effort.watched_agents,
                    "gpus": GPUS_EACH,
                    "kernels": effort.watched_kernels,
                    "at_most_s": at_most_s,
                },
            )
        )
        time.sleep(SETTLE_S)
        alone = broker.share_over(effort.watched_s)
        yield Figure(SUBJECT, f"broker: {size}", alone.of_a_core, "cores", _of(alone))
        pages = [broker.token("admin", f"admin-{number}") for number in range(effort.watching_pages // 2)]
        pages += [broker.token("user", f"user-{number % USERS}") for number in range(effort.watching_pages // 2)]
        watchers = stack.enter_context(
            _beside("watchers", {"url": broker.url, "tokens": pages, "at_most_s": at_most_s})
        )
        time.sleep(SETTLE_S)
        _ask(watchers)
        watched = broker.share_over(effort.watched_s)
        seen = _ask(watchers)
        missing = effort.watched_kernels - broker.attached(MODEL)
        yield Figure(
            SUBJECT,
            f"… and {len(pages)} pages open, half of them admins'",
            watched.of_a_core,
            "cores",
            f"{_of(watched)}, {seen['bytes'] / watched.seconds / len(pages) / 1000:.0f} kB/s a page",
            watched.of_a_core,
            HALF_A_CORE,
            seen["silent"] + missing,
        )
        attaches = asyncio.run(_attaches(broker, effort.watched_s))
        yield milliseconds(
            SUBJECT,
            "… an attach meanwhile, request to Reply",
            attaches.p99,
            detail=f"p99 of {len(attaches)}, p50 {attaches.p50 * 1000:.1f} ms",
        )
        _ask(watchers)


def _of(share: Share) -> str:
    return f"over {share.seconds:.0f} s, {share.megabytes:.0f} MB"


# the broker -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Broker:
    url: str
    settings: BrokerSettings
    process: psutil.Process

    def token(self, role: str, name: str) -> str:
        return create_token(self.settings, role, name)

    def share_over(self, seconds: float) -> Share:
        began, used_s = time.monotonic(), self._used_s()
        time.sleep(seconds)
        took_s = time.monotonic() - began
        return Share((self._used_s() - used_s) / took_s, self.process.memory_info().rss / 1e6, took_s)

    def attached(self, model: str) -> int:
        """How many kernels hold a GPU of this model now: a fleet that has fallen apart costs little to watch."""
        headers = {"Authorization": f"Bearer {self.token('admin', 'bench')}"}
        status = httpx.get(f"{self.url}/api/status", headers=headers, timeout=START_WITHIN_S, trust_env=False).json()
        return sum(kernel["state"] == "attached" and kernel["gpu"] == model for kernel in status["kernels"])

    def _used_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def _broker(directory: Path) -> Iterator[_Broker]:
    """`perijove broker` on a free port, with a ledger of its own."""
    settings = BrokerSettings(data_dir=directory)
    ready_file = directory / "broker.json"
    command = [sys.executable, "-m", "perijove.cli", "broker", "--port", "0", "--data", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the broker to be watched does not start")
            time.sleep(0.05)
        url = json.loads(ready_file.read_text("utf-8"))["url"]
        yield _Broker(url, settings, psutil.Process(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _beside(module: str, wishes: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A process that makes load, once it says that it is ready; it ends when its stdin does."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.peers.{module}", json.dumps(wishes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONSAFEPATH": ""},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the load of {module} ended before it was ready")
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _ask(watchers: subprocess.Popen[str]) -> dict[str, int]:
    assert watchers.stdin is not None
    assert watchers.stdout is not None
    watchers.stdin.write("\n")
    watchers.stdin.flush()
    answer: dict[str, int] = json.loads(watchers.stdout.readline())
    return answer


# attaches -------------------------------------------------------------------------------------------------------------


async def _attaches(broker: _Broker, seconds: float) -> Timings:
    """A kernel that attaches and releases, again and again; its agent is here, where nothing else delays it."""
    agent = StandInAgent(broker.url, broker.token("agent", "probe"), "probe", 1, PROBE_GPU)
    token = broker.token("user", "probe")
    connected = asyncio.Event()
    serving = asyncio.create_task(agent.run(connected.set))
    async with asyncio.timeout(START_WITHIN_S):
        await connected.wait()
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
        client = StandInClient(broker.url, token, await new_kernel(http, token, PROBE_GPU))
    await client.open()
    taken = []
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.perf_counter()
            await client.ask(link.AttachRequest)
            taken.append(time.perf_counter() - began)
            await client.ask(link.ReleaseRequest, end=True)
            await asyncio.sleep(ATTACH_EVERY_S)
    finally:
        await client.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    return Timings(tuple(taken))
