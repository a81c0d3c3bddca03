"""The broker at work: hands events to the core with the time, and carries out what it says.

Everything here happens on one event loop and without waiting, so each event and its instructions are one step: what was
decided about a kernel is sent before the next event is looked at. Only the ledger's thread touches the disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from pydantic import BaseModel
from sqlalchemy import Connection

from ..wire.models import Bill
from ..wire.usage import Usage
from .after_commit import AfterCommit
from .audit import Auditor
from .core import instructions as do
from .core.clock import Now, WallMs
from .core.events import FleetEvent, KernelCreated, Tick
from .core.fleet import Fleet
from .core.records import KernelRecord, LeaseRecord, MoneyRecord
from .doors.doors import Doors
from .doors.front_end import FrontEnd
from .ledger import books, months
from .ledger.bill import BillRequest, build_bill
from .ledger.ledger import Ledger
from .ledger.spending import Spending, spending_by_user
from .links.link import Peer
from .live.feed import LiveFeed
from .present import present_of
from .price_book import load_price_book
from .relay import Relay
from .sessions import Sessions
from .settings import BrokerSettings
from .system_clock import system_now
from .telemetry.metrics import Metrics
from .telemetry.traces import Traces
from .usage.book import UsageBook
from .usage.watchers import Watchers

log = structlog.get_logger(__name__)

HOUSEKEEPING_S = 2.0
STALLED_AFTER_S = 20.0  # a peer that takes nothing for so long is taken as away; it resumes when it comes back


class Broker:
    def __init__(
        self,
        settings: BrokerSettings,
        ledger: Ledger,
        new_id: Callable[[str], str],
        version: str,
        now: Callable[[], Now] = system_now,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.version = version
        self.now = now
        self.started = now()
        self.fleet = Fleet(settings.policy, load_price_book(settings.price_book), new_id, self.started, version)
        self.relay = Relay()
        self.metrics = Metrics()
        ledger.watch = self.metrics
        self.auditor = Auditor()
        self.traces: Traces | None = None  # where an endpoint for them is configured
        self.usage = UsageBook()
        self.watchers = Watchers(self.usage)
        self.live = LiveFeed(self)
        self.links: dict[str, Peer] = {}
        self._after_commit = AfterCommit(ledger, self._say, self._cut)
        self.doors = Doors(self)
        self.sessions = Sessions(ledger, lambda kernel_id: self.fleet.kernel(kernel_id) is not None)
        self._tick: asyncio.TimerHandle | None = None
        self._tick_at: int | None = None
        self._unused_since = time.monotonic()

    async def start(self) -> None:
        """Take up what the ledger knows of earlier days."""
        wall = self.now().wall
        kernels, leases, unconfirmed, money, drains, savings = await self.ledger.call(
            lambda connection: (
                *known_at(connection, wall),
                books.known_drains(connection),
                books.savings_by_kernel(connection),
            )
        )
        self._carry_out(self.fleet.restore(kernels, leases, unconfirmed, money, self.now(), drains))
        self.fleet.restore_savings(savings, self.fleet.steady(self.now()))
        self.metrics.take_up(self.fleet)
        self.auditor.take_up(self.fleet)
        await self.sessions.load()
        log.info("broker.started", kernels=len(kernels), open_leases=len(leases))

    async def stop(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        await self._after_commit.close()
        self.ledger.flush_renewals()
        await self.ledger.durable()

    def happen(self, event: FleetEvent) -> None:
        """Something happened: decide, and do what follows, before anything else happens."""
        if isinstance(event, KernelCreated):
            self._unused_since = time.monotonic()  # its client is about to link
        now = self.now()
        instructions = self.fleet.handle(event, now)
        if self.traces is not None:
            instructions = self.traces.happened(event, instructions, self.fleet)
        self._carry_out(instructions)
        self.metrics.happened(event, instructions, self.fleet, now.boot)
        for entry in self.auditor.happened(event, instructions, self.fleet, now):
            self.ledger.record(entry)

    def usage_came(self, agent_id: str, usage: Usage) -> None:
        """An agent has said what its devices and kernels do."""
        now = self.now()
        kernels = self.usage.take(agent_id, usage, self.fleet.kernels, now)
        self.watchers.came(kernels, self.links, now)

    def watch(self, kernel_id: str, link: Peer, *, on: bool) -> None:
        """A client wants to see what its kernel does, or no more."""
        if (kernel := self.fleet.kernel(kernel_id)) is not None:
            self.watchers.set(kernel, link, self.now(), on=on)

    async def bill(self, request: BillRequest) -> Bill:
        # The ledger's thread does as it is told in order, so what it has closed when it answers was closed by now, too.
        present = present_of(self.fleet, self.fleet.steady(self.now()))
        return await self.ledger.call(lambda connection: build_bill(connection, present, request))

    async def spending(self, *moments: WallMs) -> list[dict[str, Spending]]:
        """By user, since each of these moments."""
        present = present_of(self.fleet, self.fleet.steady(self.now()))
        return await self.ledger.call(
            lambda connection: [spending_by_user(connection, present, since) for since in moments]
        )

    def _carry_out(self, instructions: list[do.Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case do.ToAgent(link_id, message, after_commit):
                    if after_commit or self._after_commit.holds(link_id):
                        self._after_commit.put(link_id, message)
                    else:
                        self._say(link_id, message)
                case do.ToClientLink(link_id, message):
                    self._say(link_id, message)
                case do.CloseLink(link_id, reason):
                    self._cut(link_id, reason)
                case do.SetRoute(kernel_id, incarnation, owner, is_open):
                    self.relay.set_route(kernel_id, incarnation, owner, is_open)
                case do.DropRoute(kernel_id):
                    self.relay.drop_route(kernel_id)
                case _:
                    _log_money(instruction)
                    self.ledger.put(instruction)
        self._schedule_tick()

    def _say(self, link_id: str, message: BaseModel) -> None:
        if (link := self.links.get(link_id)) is not None:
            link.say(message.model_dump_json())

    def _cut(self, link_id: str, reason: str) -> None:
        if (link := self.links.get(link_id)) is not None:
            link.close_soon(reason)

    # time -----------------------------------------------------------------------------------------------------------

    def _schedule_tick(self) -> None:
        due = self.fleet.next_deadline()
        if due == self._tick_at and self._tick is not None:
            return
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._tick_at = due
        if due is not None:
            # One millisecond late: a timer may fire a little early, and must then not spin.
            delay_s = max(0, due - self.now().boot + 1) / 1000
            self._tick = asyncio.get_running_loop().call_later(delay_s, self._on_tick)

    def _on_tick(self) -> None:
        self._tick, self._tick_at = None, None
        self.happen(Tick())

    async def keep_house(self, when_unused: Callable[[], None]) -> None:
        """Abort links whose peer takes nothing, and notice when nobody uses this broker. Runs until cancelled."""
        limit_s = self.settings.exit_when_unused_s
        pause_s = HOUSEKEEPING_S if limit_s is None else min(HOUSEKEEPING_S, max(0.05, limit_s / 4))
        while True:
            await asyncio.sleep(pause_s)
            self.usage.forget(self.fleet.kernels, self.now())
            now = time.monotonic()
            peers: list[Peer | FrontEnd] = [*self.links.values(), *self.doors.front_ends()]
            for link in peers:
                if link.blocked_since is not None and now - link.blocked_since > STALLED_AFTER_S:
                    log.warning("link.stalled", link=link.id)
                    link.abort()
            if self.fleet.in_use:
                self._unused_since = now
            elif limit_s is not None and now - self._unused_since >= limit_s:
                log.info("broker.unused", seconds=limit_s)
                when_unused()
                return


def known_at(
    connection: Connection, wall: WallMs
) -> tuple[list[KernelRecord], list[LeaseRecord], list[LeaseRecord], MoneyRecord]:
    """What the ledger knows: kernels, open leases, those whose agents may still prove more, and users' money."""
    month = months.open_month_of(connection, wall)
    open_leases, unconfirmed = (
        months.with_earlier_months(connection, found, month, wall)
        for found in (books.open_leases(connection), books.unconfirmed_leases(connection, wall))
    )
    return books.known_kernels(connection), open_leases, unconfirmed, months.money(connection, month, wall)


def _log_money(instruction: do.LedgerInstruction) -> None:
    match instruction:
        case do.OpenLease(lease):
            log.info("lease.opened", lease=lease.id, kernel=lease.kernel_id, gpu=lease.model, agent=lease.agent_id)
        case do.CloseLease(lease_id, durations, _, confirmed):
            log.info("lease.closed", lease=lease_id, ran_ms=durations.total_ms, confirmed=confirmed)
        case _:
            pass
