"""What watchers of the broker's page are sent: the fleet, its figures, their own kernels and money, once a second.

Made when somebody watches, once for all who may see the same, and sent only where it differs from what a watcher was
sent before: with two hundred agents and fifty open pages the broker must hardly notice. What changes seldom or is of
many is made in parts of its own (``fleet_board``, ``kernel_board``).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...wire.states import BudgetScope, SetBy
from ..core.clock import WallMs
from ..ledger.course import DAY_MS
from ..ledger.tokens import Identity, Role
from .fleet_board import FleetBoard
from .kernel_board import KernelBoard

if TYPE_CHECKING:
    from ..broker import Broker

EVERY_S = 1.0
TURNS, TURN_S = 10, 0.03
SPENDING_EVERY_S = 5.0
SPENDING_SHARE = 0.05  # of the ledger's time, at most, goes into looking up what was spent

Document = dict[str, Any]
Amounts = dict[str, dict[str, int]]  # by user: real and simulated nano-dollars


class LiveFeed:
    def __init__(self, broker: Broker) -> None:
        self.watchers = 0
        self._broker = broker
        self._closed = asyncio.Event()
        self._made: dict[tuple[str, str | None], tuple[int, bytes]] = {}  # what, for whom → second, event
        self._fleet = FleetBoard(broker)
        self._kernels = KernelBoard(broker)
        self._turns = itertools.count()
        self._looked = -1  # the second in which the fleet was looked at last
        self._spending: dict[str, Amounts] = {}
        self._spending_due = 0.0
        self._looking_up = asyncio.Lock()

    def close(self) -> None:
        """The broker stops: streams end, and pages begin to look for it anew."""
        self._closed.set()

    async def stream(self, identity: Identity) -> AsyncIterator[bytes]:
        """Server-sent events for one watcher, until it goes or the broker stops."""
        sent: dict[str, bytes] = {}
        fleet_version = 0
        turn_s = next(self._turns) % TURNS * TURN_S
        self.watchers += 1
        try:
            while not self._closed.is_set():
                await self._look_up_spending()
                second = int(time.monotonic() / EVERY_S)
                told = [self._fleet_since(fleet_version, second)]
                fleet_version = self._fleet.version
                for name, event in self._events(identity, second, first="me" not in sent):
                    if sent.get(name) != event:
                        sent[name] = event
                        told.append(event)
                told.append(b": here\n\n")  # nothing may have changed, and who waits is to know that someone is there
                yield b"".join(told)
                await self._next_second(turn_s)
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._made.clear()
                self._kernels.clear()

    async def _next_second(self, turn_s: float) -> None:
        """Watchers have their turns one after the other within a second: attaches need not wait for all of them."""
        try:
            async with asyncio.timeout(EVERY_S - (time.monotonic() - turn_s) % EVERY_S):
                await self._closed.wait()
        except TimeoutError:
            return

    def _fleet_since(self, version: int, second: int) -> bytes:
        if self._looked != second:
            self._looked = second
            self._fleet.look()
        return self._fleet.told_since(version)

    def _events(self, identity: Identity, second: int, *, first: bool) -> Iterator[tuple[str, bytes]]:
        whose = None if identity.role is Role.ADMIN else identity.name
        if first:
            yield "me", _event("me", _dumps({"name": identity.name, "role": identity.role.value}))
            yield "history", self._event("history", None, second, lambda: _dumps(self._history()))
        yield "figures", self._event("figures", None, second, lambda: _dumps(self._figures()))
        yield "latency", self._event("latency", None, second, lambda: _dumps(self._latency()))
        yield "mine", self._event("mine", whose, second, lambda: self._kernels.mine(whose, second))
        yield "limits", self._event("limits", whose, second, lambda: _dumps(self._limits_of(whose)))
        yield "spending", self._event("spending", whose, second, lambda: _dumps(self._spending_of(whose)))

    def _event(self, name: str, whose: str | None, second: int, make: Callable[[], str]) -> bytes:
        """Made once a second for all who may see the same."""
        made = self._made.get((name, whose))
        if made is not None and made[0] == second:
            return made[1]
        event = _event(name, make())
        self._made[name, whose] = (second, event)
        return event

    # what all may see -----------------------------------------------------------------------------------------------

    def _history(self) -> Document:
        """Each GPU's use in the last minutes, so that charts do not begin empty; told once, figures go on from it.

        A byte for each second, the newest last, in base64: percent, or 255 where nothing is known.
        """
        broker, now = self._broker, self._broker.now()
        return {
            "at": now.wall,
            "gpus": {
                uuid: base64.b64encode(use).decode("ascii")
                for agent in broker.fleet.agents.values()
                for uuid in agent.gpus
                if (use := broker.usage.history(agent.id, uuid, now))
            },
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
                        gpu.last_xid,
                    ]
        return {"at": now.wall, "gpus": gpus, "hosts": hosts}

    def _latency(self) -> Document:
        """How long the latest attaches have taken, seconds, by phase; no estimates."""
        return self._broker.metrics.recent_attaches.quantiles()

    # what is somebody's -----------------------------------------------------------------------------------------------

    def _limits_of(self, whose: str | None) -> Document:
        """By user and scope: the amount that holds, who set it, and whether that was an admin."""
        purses = self._broker.fleet.purses
        users = purses if whose is None else [user for user in (whose,) if user in purses]
        found: Document = {}
        for user in users:
            limits = [(scope, purses[user].limit(scope)) for scope in BudgetScope]
            set_ones = {
                scope.value: [limit.nanodollars, limit.by, limit.set_by is SetBy.ADMIN]
                for scope, limit in limits
                if limit is not None
            }
            if set_ones:
                found[user] = set_ones
        return found

    def _spending_of(self, whose: str | None) -> Document:
        return {
            period: amounts if whose is None else {user: amounts[user] for user in (whose,) if user in amounts}
            for period, amounts in self._spending.items()
        }

    def _spent_ever(self) -> Amounts:
        boot = self._broker.now().boot
        return {
            user: {
                "real": purse.spent_at(BudgetScope.USER, boot, simulated=False),
                "simulated": purse.spent_at(BudgetScope.USER, boot, simulated=True),
            }
            for user, purse in self._broker.fleet.purses.items()
        }

    async def _look_up_spending(self) -> None:
        """Today, this month (UTC) and altogether, by user; seldom where it takes long, so that money itself never waits
        for it. What users have spent altogether is known without the ledger, and told of those who have spent this
        month or may spend only so much."""
        if time.monotonic() < self._spending_due or self._looking_up.locked():
            return
        async with self._looking_up:
            began = time.monotonic()
            wall = self._broker.fleet.steady(self._broker.now()).wall
            day = WallMs(wall // DAY_MS * DAY_MS)
            ever = self._spent_ever()  # of the same moment
            found = await self._broker.spending(day, self._broker.fleet.month_began)
            self._spending = {
                period: {user: {"real": spent.real, "simulated": spent.simulated} for user, spent in by_user.items()}
                for period, by_user in zip(("today", "month"), found, strict=True)
            }
            told = self._spending["month"].keys() | self._limits_of(None).keys()
            self._spending["ever"] = {user: amounts for user, amounts in ever.items() if user in told}
            ended = time.monotonic()
            self._spending_due = ended + max(SPENDING_EVERY_S, (ended - began) / SPENDING_SHARE)


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def _dumps(document: Document) -> str:
    return json.dumps(document, separators=(",", ":"))
