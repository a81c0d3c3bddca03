"""What watchers of the broker's page are sent: the fleet, its figures, their own kernels and money, once a second.

Made when somebody watches, once for all who may see the same, and sent only where it differs from what a watcher was
sent before: with two hundred agents and fifty open pages the broker must not notice.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..wire.models import Bill, KernelState
from ..wire.money import NANODOLLARS_PER_DOLLAR
from .api.documents import gpu_documents, kernel_line
from .core.clock import WallMs
from .ledger.tokens import Identity, Role
from .metrics import ATTACH_BOUNDS_S, Histogram

if TYPE_CHECKING:
    from .broker import Broker

EVERY_S = 1.0
SPENDING_EVERY_S = 5.0
SPENDING_SHARE = 0.05  # of the ledger's time, at most, goes into looking up what was spent
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NANODOLLARS_PER_MICRODOLLAR = NANODOLLARS_PER_DOLLAR // 1_000_000

Document = dict[str, Any]
Amounts = dict[str, dict[str, int]]  # by user: real and simulated nano-dollars


class LiveFeed:
    def __init__(self, broker: Broker) -> None:
        self.watchers = 0
        self._broker = broker
        self._closed = asyncio.Event()
        self._made: dict[tuple[str, str | None], tuple[int, bytes]] = {}  # what, for whom → second, event
        self._spending: dict[str, Amounts] = {}
        self._spending_due = 0.0
        self._looking_up = asyncio.Lock()

    def close(self) -> None:
        """The broker stops: streams end, and pages begin to look for it anew."""
        self._closed.set()

    async def stream(self, identity: Identity) -> AsyncIterator[bytes]:
        """Server-sent events for one watcher, until it goes or the broker stops."""
        sent: dict[str, bytes] = {}
        self.watchers += 1
        try:
            while not self._closed.is_set():
                await self._look_up_spending()
                for name, event in self._events(identity):
                    if sent.get(name) != event:
                        sent[name] = event
                        yield event
                yield b": here\n\n"  # nothing may have changed, and who waits is to know that someone is there
                await self._next_second()
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._made.clear()

    async def _next_second(self) -> None:
        try:
            async with asyncio.timeout(EVERY_S - time.monotonic() % EVERY_S):
                await self._closed.wait()
        except TimeoutError:
            return

    def _events(self, identity: Identity) -> Iterator[tuple[str, bytes]]:
        whose = None if identity.role is Role.ADMIN else identity.name
        yield "fleet", self._event("fleet", None, self._fleet)
        yield "figures", self._event("figures", None, self._figures)
        yield "latency", self._event("latency", None, self._latency)
        # Two admins see the same, but are not the same.
        yield "mine", self._event("mine", identity.name, lambda: self._mine(identity, whose))
        yield "spending", self._event("spending", whose, lambda: self._spending_of(whose))

    def _event(self, name: str, whose: str | None, make: Callable[[], Document]) -> bytes:
        second = int(time.monotonic() / EVERY_S)
        made = self._made.get((name, whose))
        if made is not None and made[0] == second:
            return made[1]
        event = f"event: {name}\ndata: {json.dumps(make(), separators=(',', ':'))}\n\n".encode()
        self._made[name, whose] = (second, event)
        return event

    # what all may see -----------------------------------------------------------------------------------------------

    def _fleet(self) -> Document:
        """What there is. Figures are apart, so that this is sent only when something was attached, released, lost."""
        broker = self._broker
        return {
            "version": broker.version,
            "agents": [
                {
                    "id": agent.id,
                    "name": agent.name,
                    "state": "connected" if agent.link_id is not None else "away",
                    "version": agent.version,
                    "python": agent.python,
                    "spares": agent.spares,
                    "gpus": [
                        {name: gpu[name] for name in _GPU_FIELDS} for gpu in gpu_documents(broker, agent, usage=False)
                    ],
                }
                for agent in sorted(broker.fleet.agents.values(), key=lambda agent: (agent.name, agent.id))
            ],
        }

    def _figures(self) -> Document:
        """Lists instead of objects: with many GPUs their names would be most of it."""
        broker, now = self._broker, self._broker.now()
        gpus: dict[str, list[Any]] = {}
        hosts: dict[str, list[Any]] = {}
        for agent in broker.fleet.agents.values():
            if (host := broker.usage.host(agent.id, now)) is not None:
                hosts[agent.id] = [host.cpu_percent, host.cores, host.memory_used_bytes, host.memory_total_bytes]
            for uuid in agent.gpus:
                if (gpu := broker.usage.gpu(agent.id, uuid, now)) is not None:
                    gpus[uuid] = [
                        gpu.utilization_percent,
                        gpu.memory_used_bytes,
                        gpu.power_milliwatts,
                        gpu.temperature_celsius,
                        gpu.memory_total_bytes,
                        gpu.throttled_by,
                        gpu.problem,
                    ]
        return {"at": now.wall, "gpus": gpus, "hosts": hosts}

    def _latency(self) -> Document:
        """How long attaches have taken since the broker started, seconds, by phase."""
        document: Document = {}
        for phase in ("queued", "starting", "total"):
            together = Histogram(ATTACH_BOUNDS_S)
            for (of_phase, _), histogram in self._broker.metrics.attaches.items():
                if of_phase == phase:
                    together.counts = [a + b for a, b in zip(together.counts, histogram.counts, strict=True)]
            if count := sum(together.counts):
                document[phase] = {name: together.quantile(part) for name, part in QUANTILES.items()} | {"count": count}
        return document

    # what is somebody's -----------------------------------------------------------------------------------------------

    def _mine(self, identity: Identity, whose: str | None) -> Document:
        broker, now = self._broker, self._broker.now()
        kernels = broker.fleet.living_kernels(whose)
        rate = {"real": 0, "simulated": 0}
        for kernel in kernels:
            if kernel.lease is not None:
                record = kernel.lease.record
                hourly = record.price_microdollars_per_second * record.count * _NANODOLLARS_PER_MICRODOLLAR * 3600
                rate["simulated" if record.simulated else "real"] += hourly
        queue = sorted((k for k in kernels if k.state is KernelState.QUEUED), key=lambda k: k.asked_at)
        return {
            "me": identity.name,
            "role": identity.role.value,
            "rate": rate,
            "kernels": [
                kernel_line(broker, kernel) | {"usage": broker.usage.latest(kernel.id, now)} for kernel in kernels
            ],
            "queue": [
                {
                    "kernel": k.id,
                    "user": k.user,
                    "reason": k.queue_reason,
                    "waiting_s": (now.boot - k.asked_at) // 1000,
                }
                for k in queue
            ],
        }

    def _spending_of(self, whose: str | None) -> Document:
        return {
            period: amounts if whose is None else {user: amounts[user] for user in (whose,) if user in amounts}
            for period, amounts in self._spending.items()
        }

    async def _look_up_spending(self) -> None:
        """Today and this month, UTC, by user; seldom where it takes long, so that money itself never waits for it."""
        if time.monotonic() < self._spending_due or self._looking_up.locked():
            return
        async with self._looking_up:
            began = time.monotonic()
            today = datetime.fromtimestamp(self._broker.now().wall / 1000, UTC).replace(
                hour=0, minute=0, second=0, microsecond=0
            )
            found = {}
            day = WallMs(int(today.timestamp() * 1000))
            for period, since in (("today", day), ("month", self._broker.fleet.month_began)):
                found[period] = by_user(await self._broker.bill(since=since, user=None))
            self._spending = found
            ended = time.monotonic()
            self._spending_due = ended + max(SPENDING_EVERY_S, (ended - began) / SPENDING_SHARE)


_GPU_FIELDS = (
    "uuid",
    "index",
    "model",
    "memory_bytes",
    "simulated",
    "state",
    "reason",
    "price_microdollars_per_second",
    "price_listed",
)


def by_user(bill: Bill) -> Amounts:
    amounts: Amounts = defaultdict(lambda: {"real": 0, "simulated": 0})
    for line in bill.leases:
        amounts[line.user]["simulated" if line.simulated else "real"] += line.cost_nanodollars
    return dict(amounts)
