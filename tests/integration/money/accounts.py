"""A broker with its ledger in a real database, in the small world of ``tests/unit/broker``: no socket, a played clock.

What a bill says is checked against the rows that are on disk, read with plain SQL and added up here.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Coroutine
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from perijove.broker.broker import Broker
from perijove.broker.core import instructions as do
from perijove.broker.core.clock import Now, WallMs
from perijove.broker.core.events import FleetEvent
from perijove.broker.core.meter import Durations
from perijove.broker.core.policy import Policy
from perijove.broker.core.records import LeaseRecord
from perijove.broker.ledger import database
from perijove.broker.ledger.ledger import Ledger
from perijove.broker.settings import BrokerSettings
from perijove.wire import control, link

from ...unit.broker.sim_ledger import SimLedger
from ...unit.broker.world import PRICES, World

T = TypeVar("T")


@cache
def empty_ledger() -> bytes:
    """The file of one; migrations take longer than a whole history."""
    with TemporaryDirectory() as directory:
        database.open_database(database.default_url(Path(directory))).dispose()
        return (Path(directory) / "ledger.db").read_bytes()


class LenientBooks(SimLedger):
    """The world's own books, beside the real ones; where a clock was set they cannot tell how much time had passed."""

    @staticmethod
    def _check(lease: LeaseRecord, durations: Durations, now: Now) -> None:
        """Nothing: the wall clock is set in these histories."""

    def apply(self, instruction: do.LedgerInstruction, now: Now) -> None:
        if isinstance(instruction, do.AdjustLease):
            lease, before, confirmed = self.closed[instruction.lease_id]
            proven = instruction.durations
            if not confirmed and proven.total_ms >= before.total_ms:
                self.closed[instruction.lease_id] = (lease, proven, True)
            return
        super().apply(instruction, now)


class AccountedWorld(World):
    """What happens goes through a whole ``Broker``; its links end in the world's clients and agents."""

    def __init__(self, policy: Policy) -> None:
        self._directory = TemporaryDirectory()
        self.path = Path(self._directory.name) / "ledger.db"
        self.path.write_bytes(empty_ledger())
        self.loop = asyncio.new_event_loop()
        super().__init__(policy)
        self.ledger = LenientBooks()
        self.prices = PRICES
        self.writes = True
        self._start_broker()

    def _start_broker(self) -> None:
        self.broker = self.wait(self._made())
        self.fleet = self.broker.fleet
        self.started = self.stored()

    async def _made(self) -> Broker:
        """Nothing in it runs by the real clock: deadlines are the world's, renewals are written when a bill is made."""
        settings = BrokerSettings(data_dir=self.path.parent)
        broker = Broker(settings, Ledger(f"sqlite:///{self.path}"), self.new_id, "1", lambda: self.now)
        broker.fleet.state.prices, broker.fleet.state.policy = self.prices, self.policy
        broker._schedule_tick = lambda: None  # type: ignore[method-assign]
        broker.ledger._schedule_renewals = lambda: None  # type: ignore[method-assign]
        broker.links = Links(self)  # type: ignore[assignment]
        broker.ledger.put = self._put(broker.ledger.put)  # type: ignore[method-assign]
        await broker.start()
        return broker

    def _put(self, put: Any) -> Any:
        """The world's own books are kept, too. In its last milliseconds a broker that is killed writes nothing."""

        def put_twice(instruction: do.LedgerInstruction) -> None:
            if not self.writes:
                return
            self.ledger.apply(instruction, self.now)
            put(instruction)

        return put_twice

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def happen(self, event: FleetEvent) -> None:
        if self.loop.is_running():  # it follows from another event, which is being carried out
            self.broker.happen(event)
        else:
            self.wait(self._happen(event))

    async def _happen(self, event: FleetEvent) -> None:
        self.broker.happen(event)

    def restart_broker(self) -> None:
        """It is killed: what agents reported in the last second is not on disk."""
        for client in self.clients.values():
            client.lost()
        for agent in self.agents.values():
            if agent.link_id is not None:
                self.links.discard(agent.link_id)
                agent.link_id = None
                kept = control.Released | control.ProcessEnded | control.Ended
                agent.lasting.extend(m for m in agent.outbox if isinstance(m, kept))
                agent.inbox.clear()
                agent.outbox.clear()
        lost, self.broker.ledger._renewals = self.broker.ledger._renewals, {}
        self.wait(self._stop())
        on_disk = {row["id"]: row for row in self.rows()}
        for lease_id in lost.keys() & self.ledger.open.keys():
            row = on_disk[lease_id]
            known = Durations(row["starting_ms"], row["busy_ms"], row["idle_ms"])
            self.ledger.open[lease_id] = replace(self.ledger.open[lease_id], durations=known)
        self.writes = True
        self._start_broker()

    async def _stop(self) -> None:
        await self.broker.stop()
        await asyncio.to_thread(self.broker.ledger.close)

    @property
    def books_now(self) -> Now:
        """By the clock that the books go by: it does not step with the machine's at once."""
        return self.fleet.steady(self.now)

    def set_wall_clock(self, by_ms: int) -> None:
        self.now = Now(self.now.boot, WallMs(self.now.wall + by_ms))

    def close(self) -> None:
        self.wait(self._stop())
        self.loop.close()
        self._directory.cleanup()

    # what is on disk ------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        connection = sqlite3.connect(self.path)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute("SELECT * FROM leases")]
        finally:
            connection.close()

    def stored(self) -> dict[tuple[str, bool], int]:
        """What is proven and written, nano-dollars, by GPU and whether it is simulated."""
        found: dict[tuple[str, bool], int] = {}
        for row in self.rows():
            key = (row["model"], bool(row["simulated"]))
            found[key] = found.get(key, 0) + cost_of(row)
        return found

    def copy_of_ledger(self, to: Path) -> None:
        connection = sqlite3.connect(self.path)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
        shutil.copy(self.path, to)


def cost_of(row: dict[str, Any]) -> int:
    return int(row["price_microdollars_per_second"] * row["count"] * ran_ms(row))


def ran_ms(row: dict[str, Any]) -> int:
    return int(row["starting_ms"] + row["busy_ms"] + row["idle_ms"])


class Links:
    """In the place of the broker's links: whatever is open in the world."""

    def __init__(self, world: AccountedWorld) -> None:
        self._world = world

    def get(self, link_id: str) -> PlayedLink | None:
        return PlayedLink(self._world, link_id) if link_id in self._world.links else None


class PlayedLink:
    def __init__(self, world: AccountedWorld, link_id: str) -> None:
        self._world = world
        self._id = link_id

    def say(self, text: str) -> None:
        if self._id in self._world.clients_by_link:
            self._world.carry_out(do.ToClientLink(self._id, link.to_client.validate_json(text)))
        else:
            self._world.carry_out(do.ToAgent(self._id, control.from_broker.validate_json(text)))

    def close_soon(self, reason: str) -> None:
        self._world.carry_out(do.CloseLink(self._id, reason))
