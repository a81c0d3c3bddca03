"""Messages that wait for the ledger, and keep those behind them in order."""

from __future__ import annotations

import asyncio
from typing import cast

from perijove.broker.after_commit import AfterCommit
from perijove.broker.ledger.ledger import Ledger
from perijove.wire.control import End, FromBroker


class PlayedLedger:
    """A disk that takes as long as the test likes."""

    def __init__(self) -> None:
        self.writes: list[asyncio.Future[None]] = []

    async def durable(self) -> None:
        write: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writes.append(write)
        await write


class Played:
    def __init__(self) -> None:
        self.ledger = PlayedLedger()
        self.said: list[tuple[str, str]] = []
        self.cut: list[str] = []
        self.after_commit = AfterCommit(
            cast(Ledger, self.ledger), self._say, lambda link_id, _: self.cut.append(link_id)
        )

    def _say(self, link_id: str, message: FromBroker) -> None:
        assert isinstance(message, End)
        self.said.append((link_id, message.request_id))

    def put(self, link_id: str, name: str) -> None:
        self.after_commit.put(link_id, End(request_id=name, kernel_id="kernel"))

    async def written(self, number: int) -> None:
        self.ledger.writes[number].set_result(None)
        await turns()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nothing_is_said_before_the_disk_has_it_and_later_messages_wait_behind() -> None:
    played = Played()
    played.put("a", "first")
    await turns()
    played.put("a", "second")
    played.put("b", "other")
    await turns()
    assert played.after_commit.holds("a")
    assert not played.said
    await played.written(0)
    assert played.said == [("a", "first")], "the second has something younger to wait for"
    await played.written(2)
    assert played.said == [("a", "first"), ("a", "second")]
    assert not played.after_commit.holds("a")
    await played.written(1)
    assert played.said[-1] == ("b", "other")


async def test_a_disk_that_fails_cuts_the_agent_off_and_binds_nothing() -> None:
    played = Played()
    played.put("a", "first")
    await turns()
    played.ledger.writes[0].set_exception(OSError("full"))
    await turns()
    assert played.cut == ["a"]
    assert not played.said
    assert not played.after_commit.holds("a")


async def test_when_the_broker_stops_nothing_more_is_said() -> None:
    played = Played()
    played.put("a", "first")
    await turns()
    await played.after_commit.close()
    assert not played.said
    assert not played.after_commit.holds("a")
