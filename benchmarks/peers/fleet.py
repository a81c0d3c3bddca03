"""Many agents and the notebooks that use them, spoken by one process: the wire's protocol, and nothing behind it.

No kernel runs and no GPU is there: agents bind whatever they are told to, and report figures that change each second,
each at its own moment of the second. What a broker has to do for it is what it does for real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from perijove.wire import control, link
from perijove.wire.ids import new_incarnation
from perijove.wire.models import Gpu, GpuState
from perijove.wire.usage import GpuSample, HostSample, KernelSample, OwnGpu, Usage
from perijove.wire.versions import PROTOCOL
from websockets.asyncio.client import ClientConnection, connect

MODEL = "H100"
GIB = 2**30
GPU_BYTES = 80 * GIB
REPORT_EVERY_S = 1.0
RENEW_EVERY_S = 5.0
DIALS_AT_ONCE = 20
OPEN_FILES = 16_384
PATIENCE_S = 60.0


def dial(url: str, path: str, token: str) -> connect:
    return connect(
        url.replace("http", "ws", 1) + path,
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        max_size=None,
        proxy=None,
    )


@dataclass
class _Held:
    """A kernel's process on an agent, as far as the broker can tell."""

    incarnation: str
    lease_id: str
    gpus: list[str]
    bound_at: float
    busy: bool = True

    def report(self) -> control.LeaseReport:
        ran_ms = int((time.monotonic() - self.bound_at) * 1000)
        return control.LeaseReport(lease_id=self.lease_id, starting_ms=0, busy_ms=ran_ms, idle_ms=0)


@dataclass
class StandInAgent:
    """Serves its control link, and a data link for each kernel. ``shares``: several users may use it."""

    url: str
    token: str
    id: str
    gpu_count: int
    model: str = MODEL
    kernels: dict[str, _Held] = field(default_factory=dict)
    bound: asyncio.Event = field(default_factory=asyncio.Event)
    _connection: ClientConnection | None = None
    _data: dict[str, ClientConnection] = field(default_factory=dict)
    _rounds: int = 0

    @property
    def uuids(self) -> list[str]:
        return [f"{self.id}-gpu-{index}" for index in range(self.gpu_count)]

    async def run(self, connected: Callable[[], None]) -> None:
        """Until cancelled, or until the broker closes the link."""
        async with contextlib.AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(dial(self.url, "/api/agents/link", self.token))
            stack.push_async_callback(self._close_data)
            await self._say(self._hello())
            welcome = control.from_broker.validate_json(await self._connection.recv())
            if not isinstance(welcome, control.Welcome):
                raise ConnectionError(f"the broker answers a hello with {welcome!r}")
            connected()
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(self._report()), tasks.create_task(self._renew())]
                async for text in self._connection:
                    await self._answer(control.from_broker.validate_json(text))
                for helper in helpers:
                    helper.cancel()

    def _gpus(self) -> list[Gpu]:
        held = {uuid for held in self.kernels.values() for uuid in held.gpus}
        return [
            Gpu(
                uuid=uuid,
                index=index,
                model=self.model,
                name=self.model,
                memory_bytes=GPU_BYTES,
                simulated=True,
                state=GpuState.HELD if uuid in held else GpuState.FREE,
            )
            for index, uuid in enumerate(self.uuids)
        ]

    def _hello(self) -> control.Hello:
        return control.Hello(
            protocol=PROTOCOL,
            version="stand-in",
            python="3.11.7",
            agent_id=self.id,
            name=self.id,
            gpus=self._gpus(),
            kernels=[],
            spares=2,
            isolated=True,
        )

    async def _say(self, message: Any) -> None:
        assert self._connection is not None
        await self._connection.send(message.model_dump_json())

    async def _report(self) -> None:
        await asyncio.sleep(random.uniform(0, REPORT_EVERY_S))
        for _ in _every(REPORT_EVERY_S):
            await self._say(self.usage())
            await asyncio.sleep(REPORT_EVERY_S)

    async def _renew(self) -> None:
        """And kernels turn from busy to idle, or back, as cells end and begin."""
        for _ in _every(RENEW_EVERY_S):
            await asyncio.sleep(RENEW_EVERY_S * random.uniform(0.9, 1.1))
            await self._say(control.Renew(leases=[held.report() for held in self.kernels.values()]))
            for kernel_id, held in self.kernels.items():
                held.busy = not held.busy
                await self._say(self._activity(kernel_id, held))

    def _activity(self, kernel_id: str, held: _Held) -> control.Activity:
        return control.Activity(
            kernel_id=kernel_id,
            incarnation=held.incarnation,
            busy=held.busy,
            gpu_quiet=not held.busy,
            keepable=True,
        )

    def usage(self) -> Usage:
        """Figures of this second: GPUs that are held work, the others rest; all waver."""
        self._rounds += 1
        in_use = {uuid for held in self.kernels.values() for uuid in held.gpus}
        return Usage(
            host=HostSample(
                cpu_percent=20.0 + self._rounds % 7, cores=64, memory_used_bytes=100 * GIB, memory_total_bytes=512 * GIB
            ),
            gpus=[self._sample(index, uuid, uuid in in_use) for index, uuid in enumerate(self.uuids)],
            kernels=[
                KernelSample(
                    kernel_id=kernel_id,
                    processes=3,
                    cpu_percent=95.0 + self._rounds % 5,
                    memory_bytes=4 * GIB + self._rounds * 4096,
                    gpus=[OwnGpu(uuid=uuid, own_memory_bytes=30 * GIB) for uuid in held.gpus],
                )
                for kernel_id, held in self.kernels.items()
            ],
        )

    def _sample(self, index: int, uuid: str, works: bool) -> GpuSample:
        waver = (self._rounds * 7 + index * 13) % 40
        return GpuSample(
            uuid=uuid,
            simulated=True,
            utilization_percent=60.0 + waver if works else 0.0,
            memory_used_bytes=(30 if works else 0) * GIB + waver,
            memory_total_bytes=GPU_BYTES,
            power_milliwatts=400_000 + 1000 * waver if works else 70_000 + waver,
            power_limit_milliwatts=700_000,
            energy_millijoules=self._rounds * 400_000,
            temperature_celsius=50 + waver // 4 if works else 31,
            sm_clock_mhz=1980,
            memory_clock_mhz=2619,
            uncorrected_ecc_errors=0,
        )

    async def _answer(self, message: Any) -> None:
        match message:
            case control.Bind():
                await self._bind(message)
            case control.Release():
                await self._release(message)
            case control.End():
                held = self.kernels.pop(message.kernel_id, None)
                report = held.report() if held is not None else None
                await self._close_data(held.incarnation if held is not None else "")
                await self._say(
                    control.Ended(request_id=message.request_id, kernel_id=message.kernel_id, report=report)
                )
                await self._say(control.Inventory(gpus=self._gpus(), spares=2))

    async def _bind(self, bind: control.Bind) -> None:
        incarnation = bind.incarnation or new_incarnation().hex()
        held = _Held(incarnation, bind.lease_id, bind.gpus, time.monotonic())
        self.kernels[bind.kernel_id] = held
        if incarnation not in self._data:
            self._data[incarnation] = await dial(self.url, f"/api/agents/processes/{incarnation}/link", self.token)
        await self._say(
            control.Bound(
                request_id=bind.request_id,
                kernel_id=bind.kernel_id,
                lease_id=bind.lease_id,
                incarnation=incarnation,
                resumed=bind.incarnation is not None,
                report=held.report(),
            )
        )
        await self._say(control.Inventory(gpus=self._gpus(), spares=2))
        await self._say(self._activity(bind.kernel_id, held))

    async def _release(self, release: control.Release) -> None:
        held = self.kernels[release.kernel_id]
        if release.only_if_idle and held.busy:
            await self._say(control.NotIdle(request_id=release.request_id, kernel_id=release.kernel_id))
            return
        report = held.report()
        del self.kernels[release.kernel_id]
        await self._say(
            control.Released(
                request_id=release.request_id,
                kernel_id=release.kernel_id,
                incarnation=held.incarnation,
                kept=True,
                report=report,
            )
        )
        await self._say(control.Inventory(gpus=self._gpus(), spares=2))

    async def _close_data(self, incarnation: str | None = None) -> None:
        chosen = list(self._data) if incarnation is None else [incarnation] if incarnation in self._data else []
        for one in chosen:
            await self._data.pop(one).close()


class StandInClient:
    """A notebook's link: attaches, hears what becomes of it, and stays."""

    def __init__(self, url: str, token: str, kernel_id: str) -> None:
        self._url, self._token, self._kernel_id = url, token, kernel_id
        self._connection: ClientConnection | None = None
        self._numbers = itertools.count()

    async def open(self) -> None:
        self._connection = await dial(self._url, f"/api/kernels/{self._kernel_id}/link", self._token)
        await self._send(link.ClientHello(protocol=PROTOCOL, version="stand-in"))
        await self._connection.recv()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def ask(self, kind: type[Any], **fields: Any) -> None:
        """Ask, and wait for the reply."""
        assert self._connection is not None
        request_id = f"request-{next(self._numbers)}"
        await self._send(kind(request_id=request_id, **fields))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = link.to_client.validate_json(await self._connection.recv())
                if isinstance(said, link.Reply) and said.request_id == request_id:
                    if said.code:
                        raise RuntimeError(f"{kind.__name__}: {said.message}")
                    return

    async def listen(self) -> None:
        assert self._connection is not None
        async for _ in self._connection:
            pass

    async def _send(self, message: Any) -> None:
        assert self._connection is not None
        await self._connection.send(message.model_dump_json())


async def new_kernel(http: httpx.AsyncClient, token: str, spec: str) -> str:
    response = await http.post(
        "/api/kernels", json={"perijove": {"gpu": spec}}, headers={"Authorization": f"Bearer {token}"}
    )
    response.raise_for_status()
    return str(response.json()["id"])


async def serve(wishes: dict[str, Any]) -> None:
    """Connect all, say ``ready`` on stdout, and go on until stdin is closed or the time is up.

    ``wishes``: url, agent_token, user_tokens, agents, gpus, kernels, at_most_s.
    """
    _raise_file_limit()
    async with asyncio.timeout(wishes["at_most_s"]), asyncio.TaskGroup() as tasks:
        running: list[asyncio.Task[None]] = []
        agents = [
            StandInAgent(wishes["url"], wishes["agent_token"], f"host-{number:03}", wishes["gpus"])
            for number in range(wishes["agents"])
        ]
        gate = asyncio.Semaphore(DIALS_AT_ONCE)
        await _all(gate, [lambda a=a: _connected(tasks, running, a) for a in agents])  # type: ignore[misc]
        tokens = itertools.cycle(wishes["user_tokens"])
        async with httpx.AsyncClient(base_url=wishes["url"], timeout=PATIENCE_S, trust_env=False) as http:
            users = [next(tokens) for _ in range(wishes["kernels"])]
            await _all(
                gate,
                [lambda t=t: _attached(http, tasks, running, wishes["url"], t) for t in users],  # type: ignore[misc]
            )
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in running:
            task.cancel()


async def _connected(tasks: asyncio.TaskGroup, running: list[asyncio.Task[None]], agent: StandInAgent) -> None:
    connected = asyncio.Event()
    running.append(tasks.create_task(agent.run(connected.set)))
    async with asyncio.timeout(PATIENCE_S):
        await connected.wait()


async def _attached(
    http: httpx.AsyncClient, tasks: asyncio.TaskGroup, running: list[asyncio.Task[None]], url: str, token: str
) -> None:
    client = StandInClient(url, token, await new_kernel(http, token, MODEL))
    await client.open()
    await client.ask(link.AttachRequest)
    running.append(tasks.create_task(client.listen()))


async def _all(gate: asyncio.Semaphore, works: list[Callable[[], Awaitable[None]]]) -> None:
    async def one(work: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await work()

    await asyncio.gather(*(one(work) for work in works))


def _every(seconds: float) -> itertools.repeat[float]:
    return itertools.repeat(seconds)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
