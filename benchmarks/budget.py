"""What a user's budget lets through: several kernels that compute draw on one, on two agents, until it is used up.

Three times: with the broker there, with the broker killed (-9) midway and started again, and with it killed and away
until every agent has let go. What the ledger says at the end, less the budget, is the overrun.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from .channels import ChannelsFrontEnd, KernelServer
from .effort import Effort
from .figures import Figure, Mark
from .home import GPU, KERNEL, Home

SUBJECT = "budget"
MARK = Mark(1.0, at_least=False, meaning="a second's cost")
AGENTS = 2
COMPUTE = "while True:\n    sum(range(10_000))"
PRICE_MICRODOLLARS_PER_SECOND = 1_000
PRICES = f"""dated = "2026-11"
source = "this benchmark"
cpu_usd_per_second = "0.0001"

[gpu.{GPU}]
usd_per_second = "0.001"
memory_gib = 80
"""
READY_WITHIN_S = 60.0
LET_GO_WITHIN_S = 180.0
SETTLED_S = 2.0  # from when the broker knows of no lease until the bill is read
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Story:
    what: str
    kill_at: float | None = None  # this part of the time that the budget lasts
    away_s: float | None = None  # None: until every agent has let go


STORIES = (
    Story("the broker is there"),
    Story("the broker is killed (-9) midway and started again after 2 s", 0.4, 2.0),
    Story("the broker is killed (-9) midway and away until all have let go", 0.4),
)


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    for number, story in enumerate(STORIES):
        with fleet(here.directory / f"budget-{number}", effort.budget_kernels) as found:
            overrun_ms, spent_part, used_s = _play(found, story, effort)
        yield Figure(
            SUBJECT,
            f"{effort.budget_kernels} kernels that compute, one budget: {story.what}",
            max(0.0, overrun_ms),
            "ms over",
            f"{spent_part:.1%} of {effort.budget_s} GPU-seconds spent, in {used_s:.0f} s; simulated",
            max(0.0, overrun_ms) / 1000,
            MARK,
        )


def _play(fleet: Fleet, story: Story, effort: Effort) -> tuple[float, float, float]:
    """Milliseconds of one GPU's cost above the budget (below: negative), the part spent, and how long that took."""
    budget = effort.budget_s * 1000 * PRICE_MICRODOLLARS_PER_SECOND  # nano-dollars
    fleet.server.request("PUT", "/api/limits/bench", {"scope": "month", "dollars": f"{budget / 10**9:.9f}"})
    with ExitStack() as stack:
        front_ends = [ChannelsFrontEnd(fleet.server, KERNEL) for _ in range(effort.budget_kernels)]
        for front_end in front_ends:
            stack.callback(front_end.disconnect)
            front_end.begin(COMPUTE)
        started = time.monotonic()
        _until(lambda: len(fleet.leases()) == len(front_ends), READY_WITHIN_S, "not all kernels got a GPU")
        lasts_s = effort.budget_s / len(front_ends)
        if story.kill_at is not None:
            time.sleep(max(0.0, lasts_s * story.kill_at - (time.monotonic() - started)))
            fleet.kill_broker()
            time.sleep(story.away_s if story.away_s is not None else lasts_s)
            fleet.start_broker()
        _until(lambda: not fleet.leases() and fleet.agents_are_there(), LET_GO_WITHIN_S, "a kernel still has a GPU")
        used_s = time.monotonic() - started
        time.sleep(SETTLED_S)
        bill = fleet.server.request("GET", "/api/bill")
    assert bill["total_nanodollars"] == 0, "simulated GPUs cost simulated dollars"
    spent: int = bill["simulated_nanodollars"]
    return (spent - budget) / PRICE_MICRODOLLARS_PER_SECOND, spent / budget, used_s


@dataclass(slots=True)
class Fleet:
    """A broker and agents of their own, as an operator would start them."""

    directory: Path
    environment: dict[str, str]
    port: int = 0
    token: str = ""
    broker: subprocess.Popen[bytes] | None = None
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def server(self) -> KernelServer:
        return KernelServer(f"http://127.0.0.1:{self.port}", self.token)

    def leases(self) -> list[Any]:
        return list(self.server.request("GET", "/api/leases"))

    def agents_are_there(self) -> bool:
        agents = self.server.request("GET", "/api/status")["agents"]
        return sum(agent["state"] == "connected" for agent in agents) == len(self.agents)

    def start_broker(self) -> None:
        ready = self.directory / "broker" / "broker.json"
        ready.unlink(missing_ok=True)
        options = ["--port", str(self.port), "--data", str(ready.parent), "--prices", str(self._prices)]
        self.broker = self._start("broker", "broker", *options)
        _until(ready.exists, READY_WITHIN_S, "the broker did not start")
        self.port = int(json.loads(ready.read_text())["url"].rpartition(":")[2])
        _until(self._answers, READY_WITHIN_S, "the broker does not answer")

    def kill_broker(self) -> None:
        assert self.broker is not None
        self.broker.kill()
        self.broker.wait()

    def start_agent(self, number: int, gpus: int) -> None:
        options = ["--broker", self.server.url, "--token-file", str(self._token_file("agent", f"agent-{number}"))]
        options += ["--simulate", f"{GPU}:{gpus}", "--name", f"agent-{number}", "--spares", str(gpus)]
        options += ["--data", str(self.directory / f"agent-{number}")]
        self.agents.append(self._start(f"agent-{number}", "agent", *options))

    def make_token(self, role: str, name: str) -> str:
        command = [*_PERIJOVE, "token", "create", "--role", role, "--name", name, "--data", str(self._data)]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()

    def stop(self) -> None:
        for process in [*self.agents, *([self.broker] if self.broker is not None else [])]:
            process.terminate()
        for process in [*self.agents, *([self.broker] if self.broker is not None else [])]:
            process.wait()

    @property
    def _data(self) -> Path:
        return self.directory / "broker"

    @property
    def _prices(self) -> Path:
        path = self.directory / "prices.toml"
        path.write_text(PRICES)
        return path

    def _token_file(self, role: str, name: str) -> Path:
        path = self.directory / f"{name}.token"
        path.touch(0o600)
        path.write_text(self.make_token(role, name))
        return path

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.server.url}/healthz", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def _start(self, log: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [*_PERIJOVE, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )


_PERIJOVE: Sequence[str] = (sys.executable, "-m", "perijove.cli")


@contextmanager
def fleet(directory: Path, kernels: int) -> Iterator[Fleet]:
    directory.mkdir()
    found = Fleet(directory, {**os.environ, "PERIJOVE_DATA": str(directory)})
    try:
        found.start_broker()
        found.token = found.make_token("user", "bench")
        for number in range(AGENTS):
            found.start_agent(number, -(-kernels // AGENTS))
        _until(found.agents_are_there, READY_WITHIN_S, "the agents did not connect")
        yield found
    finally:
        found.stop()


def _until(holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {within_s:.0f} s")
        time.sleep(POLL_S)
