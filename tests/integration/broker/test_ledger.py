"""The books on disk: leases close once, bills add up to the nano-dollar, and the tables are those of the migrations."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from perijove.broker.core import instructions as do
from perijove.broker.core.clock import WallMs
from perijove.broker.core.meter import Durations
from perijove.broker.core.records import KernelRecord, LeaseRecord
from perijove.broker.errors import LedgerError
from perijove.broker.ledger import audit, books, database
from perijove.broker.ledger.bill import BillRequest, LiveLease, Present, build_bill
from perijove.broker.ledger.course import Period
from perijove.broker.ledger.ledger import Ledger
from perijove.broker.ledger.spending import spending_by_user
from perijove.broker.ledger.tables import metadata
from perijove.wire.models import Bill, KernelState
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

T0 = WallMs(1_800_000_000_000)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(database.default_url(tmp_path))
    yield ledger
    ledger.close()


def lease(lease_id: str, *, at: int = T0, user: str = "ada", simulated: bool = False, count: int = 1) -> LeaseRecord:
    return LeaseRecord(
        id=lease_id,
        kernel_id=f"kernel-of-{lease_id}",
        user=user,
        agent_id="agent-a",
        agent_name="host-a",
        model="H100",
        count=count,
        gpus=tuple(f"GPU-{i}" for i in range(count)),
        simulated=simulated,
        price_microdollars_per_second=1097,
        opened_at=WallMs(at),
    )


async def bill(ledger: Ledger, *live: LiveLease, since: int | None = None, user: str | None = None) -> Bill:
    period = Period(None if since is None else WallMs(since))
    return await ledger.call(lambda connection: build_bill(connection, Present(T0, live), BillRequest(period, user)))


def close(ledger: Ledger, lease_id: str, durations: Durations, at: int, *, confirmed: bool = True) -> None:
    ledger.put(do.CloseLease(lease_id, durations, WallMs(at), confirmed))


async def test_a_bill_is_price_times_count_times_milliseconds(ledger: Ledger) -> None:
    ledger.put(do.OpenLease(lease("one", count=3)))
    close(ledger, "one", Durations(500, 1500, 500), T0 + 2500)
    document = await bill(ledger)
    assert document.total_nanodollars == 8_227_500
    (line,) = document.leases
    assert line.cost_nanodollars == 8_227_500
    assert (line.opened_at, line.closed_at) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:02.500Z")


async def test_simulated_money_is_apart(ledger: Ledger) -> None:
    for name, simulated in (("real", False), ("fake", True)):
        ledger.put(do.OpenLease(lease(name, simulated=simulated)))
        close(ledger, name, Durations(0, 1000, 0), T0 + 1000)
    document = await bill(ledger)
    assert document.total_nanodollars == 1_097_000
    assert document.simulated_nanodollars == 1_097_000


async def test_a_lease_closes_once(ledger: Ledger) -> None:
    ledger.put(do.OpenLease(lease("one")))
    close(ledger, "one", Durations(0, 100, 0), T0 + 100)
    close(ledger, "one", Durations(0, 900, 0), T0 + 900)
    ledger.put(do.RenewLease("one", Durations(0, 900, 0), WallMs(T0 + 900)))
    assert (await bill(ledger)).total_nanodollars == 109_700


async def test_an_open_lease_shows_what_it_would_be_if_closed_now(ledger: Ledger) -> None:
    record = lease("one")
    ledger.put(do.OpenLease(record))
    document = await bill(ledger, LiveLease(record, Durations(10, 20, 30)))
    assert document.leases[0].closed_at is None
    assert document.total_nanodollars == 60 * 1097


async def test_a_vanished_agents_lease_ends_at_its_last_renewal_and_late_proof_adjusts_it(ledger: Ledger) -> None:
    ledger.put(do.OpenLease(lease("one")))
    ledger.put(do.RenewLease("one", Durations(0, 5000, 0), WallMs(T0 + 5000)))
    ledger.flush_renewals()
    close(ledger, "one", Durations(0, 5000, 0), T0 + 70_000, confirmed=False)
    document = await bill(ledger)
    assert document.leases[0].closed_at == "2027-01-15T08:00:05.000Z"
    (unproven,) = await ledger.call(lambda c: books.unconfirmed_leases(c, WallMs(T0 + 80_000)))
    assert (unproven.id, unproven.durations.total_ms) == ("one", 5000)
    ledger.put(do.AdjustLease("one", Durations(0, 9000, 0), WallMs(T0 + 80_000)))
    ledger.put(do.AdjustLease("one", Durations(0, 70_000, 0), WallMs(T0 + 90_000)))
    document = await bill(ledger)
    assert document.total_nanodollars == 9000 * 1097, "once"
    assert document.leases[0].closed_at == "2027-01-15T08:00:09.000Z"
    assert await ledger.call(lambda c: books.unconfirmed_leases(c, WallMs(T0 + 80_000))) == []


async def test_late_proof_is_no_more_than_the_time_that_passed(ledger: Ledger) -> None:
    ledger.put(do.OpenLease(lease("one")))
    close(ledger, "one", Durations(), T0, confirmed=False)
    ledger.put(do.AdjustLease("one", Durations(0, 3_600_000, 0), WallMs(T0 + 10_000)))
    (line,) = (await bill(ledger)).leases
    assert line.busy_ms <= 10_300


async def test_bills_that_meet_at_a_moment_add_up(ledger: Ledger) -> None:
    ledger.put(do.OpenLease(lease("one")))
    for minute in range(1, 6):
        ledger.put(do.RenewLease("one", Durations(0, minute * 50_000, minute * 10_000), WallMs(T0 + minute * 60_000)))
        ledger.flush_renewals()
    close(ledger, "one", Durations(0, 250_000, 60_000), T0 + 310_000)
    whole = (await bill(ledger)).total_nanodollars
    at_checkpoint = await bill(ledger, since=T0 + 120_000)
    assert at_checkpoint.leases[0].busy_ms == 150_000
    assert at_checkpoint.leases[0].idle_ms == 40_000
    between = await bill(ledger, since=T0 + 150_000)
    assert between.leases[0].busy_ms == 125_000
    assert whole == 310_000 * 1097
    assert (await bill(ledger, since=T0 + 400_000)).leases == []
    assert (await bill(ledger, since=T0 - 1)).total_nanodollars == whole


async def test_a_bill_is_for_one_user_or_all(ledger: Ledger) -> None:
    for name in ("ada", "bob"):
        ledger.put(do.OpenLease(lease(name, user=name)))
        close(ledger, name, Durations(0, 1, 0), T0 + 1)
    assert [line.user for line in (await bill(ledger, user="bob")).leases] == ["bob"]
    assert len((await bill(ledger)).leases) == 2


async def test_what_happened_to_a_lease_cannot_be_rewritten(ledger: Ledger, tmp_path: Path) -> None:
    ledger.put(do.OpenLease(lease("one")))
    await ledger.durable()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    try:
        for statement in ("DELETE FROM lease_events", "UPDATE lease_events SET busy_ms = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    finally:
        connection.close()


async def test_commits_survive_a_power_cut(ledger: Ledger) -> None:
    modes = await ledger.call(
        lambda c: (
            c.exec_driver_sql("PRAGMA journal_mode").scalar(),
            c.exec_driver_sql("PRAGMA synchronous").scalar(),
        )
    )
    assert modes == ("wal", 2), "FULL"


async def test_kernels_are_known_after_a_restart(tmp_path: Path) -> None:
    record = KernelRecord("k1", "ada", "perijove", "H100", KernelState.SUSPENDED, T0, 5000, "ab" * 16, "a", "host-a")
    record = replace(record, budget_nanodollars=500_000_000)
    first = Ledger(database.default_url(tmp_path))
    first.put(do.SaveKernel(record))
    first.put(do.SaveKernel(KernelRecord("k2", "ada", "perijove", "any", KernelState.DETACHED, T0)))
    first.put(do.ForgetKernel("k2"))
    first.put(do.OpenLease(lease("one")))
    first.close()
    second = Ledger(database.default_url(tmp_path))
    try:
        assert await second.call(books.known_kernels) == [record]
        assert await second.call(books.open_leases) == [lease("one")]
    finally:
        second.close()


async def test_one_failing_write_takes_no_other_with_it(ledger: Ledger) -> None:
    ledger.put(do.OpenLease(lease("one")))
    ledger.put(do.OpenLease(lease("one")))  # refused by the database: it is there already
    ledger.put(do.OpenLease(lease("two")))
    assert len((await bill(ledger)).leases) == 2


async def test_a_burst_of_events_is_few_commits(ledger: Ledger) -> None:
    for number in range(1000):
        ledger.put(do.OpenLease(lease(f"lease-{number}")))
    async with asyncio.timeout(10):
        await ledger.durable()
    assert len((await bill(ledger)).leases) == 1000


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    engine = database.open_database(database.default_url(tmp_path))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    scripts = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))
    assert scripts.get_current_head() == database.NEWEST_REVISION


def test_the_audit_log_comes_and_goes_and_the_rest_stays(tmp_path: Path) -> None:
    engine = database.open_database(database.default_url(tmp_path))
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        books.apply(connection, do.OpenLease(lease("one")))
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        assert not inspect(connection).has_table("audit")
        database.migrate(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert books.open_leases(connection) == [lease("one")]
        audit.append(connection, audit.AuditEntry(T0, audit.Actor("ada", audit.Via.LINK), audit.Action.ATTACH, "ada"))
        with pytest.raises(IntegrityError, match="append-only"), connection.begin_nested():
            connection.execute(text("DELETE FROM audit"))
        assert len(audit.entries(connection, limit=9)) == 1
    engine.dispose()


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    database.open_database(database.default_url(tmp_path)).dispose()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="newer perijove"):
        database.open_database(database.default_url(tmp_path))


async def test_what_a_kernel_has_spent_follows_from_its_closed_leases(ledger: Ledger) -> None:
    for name, simulated in (("real", False), ("fake", True), ("open", False)):
        ledger.put(do.OpenLease(replace(lease(name, simulated=simulated, count=2), kernel_id="k1")))
        if name != "open":
            close(ledger, name, Durations(0, 1000, 0), T0 + 1000)
    ledger.put(do.OpenLease(lease("gone")))
    close(ledger, "gone", Durations(0, 1000, 0), T0 + 1000)
    ledger.put(do.SaveKernel(KernelRecord("k1", "ada", "perijove", "H100", KernelState.DETACHED, T0)))
    assert await ledger.call(books.spent_by_kernel) == {"k1": (4_388_000, 2_194_000)}


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Also on its way: what is in it stays."""
    database.open_database(database.default_url(tmp_path)).dispose()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.executescript(
        "DROP TABLE limits; DROP TABLE months; DROP TABLE drains; DROP TABLE audit; DROP TABLE sessions;"
        "DROP INDEX ix_leases_kernel_id; DROP INDEX ix_leases_opened_at;"
        "ALTER TABLE leases DROP COLUMN notebook; ALTER TABLE leases DROP COLUMN gap_ms;"
        "ALTER TABLE kernels DROP COLUMN budget_nanodollars; ALTER TABLE kernels DROP COLUMN notebook;"
        "ALTER TABLE kernels DROP COLUMN kept_until; ALTER TABLE kernels DROP COLUMN keep_extra_ms;"
        "ALTER TABLE kernels DROP COLUMN notice;"
        "ALTER TABLE kernels ADD COLUMN saved_nanodollars BIGINT NOT NULL DEFAULT 0;"
        "ALTER TABLE kernels ADD COLUMN notice TEXT NOT NULL DEFAULT '';"
        "UPDATE alembic_version SET version_num = '0001';"
        "INSERT INTO kernels VALUES ('k', 'ada', 'perijove', 'H100', 'detached', 1, NULL, NULL, NULL, '', 1, 0, '');"
    )
    connection.close()
    engine = database.open_database(database.default_url(tmp_path))
    with engine.connect() as upgraded:
        (kernel,) = books.known_kernels(upgraded)
        assert kernel.budget_nanodollars is None
        assert compare_metadata(MigrationContext.configure(upgraded), metadata) == []
    engine.dispose()


def test_gaps_between_older_leases_follow_from_when_they_were_open(tmp_path: Path) -> None:
    engine = database.open_database(database.default_url(tmp_path))
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    times = {"first": (T0, T0 + 1_000), "second": (T0 + 61_000, T0 + 62_000), "last": (T0 + 62_000, T0 + 63_000)}
    with engine.begin() as connection:
        for name, (opened_at, closed_at) in times.items():
            books.apply(connection, do.OpenLease(replace(lease(name, at=opened_at), kernel_id="k1")))
            books.apply(connection, do.CloseLease(name, Durations(0, 1_000, 0), WallMs(closed_at), True))
        books.apply(connection, do.OpenLease(lease("of another", at=T0 + 2_000)))
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
        database.migrate(connection)
        found = {row.id: row.gap_ms for row in connection.execute(text("SELECT id, gap_ms FROM leases"))}
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert found == {"first": 60_000, "second": 0, "last": 0, "of another": 0}


async def test_spending_is_the_bill_by_user_also_where_sums_would_overflow(ledger: Ledger) -> None:
    month = T0 + 100_000
    price = 3_000_000_000_000_017
    for number in range(6):
        record = replace(
            lease(f"lease-{number}", at=T0 + number * 40_000, user=("ada", "bob")[number % 2], simulated=number == 3),
            price_microdollars_per_second=price,
        )
        ledger.put(do.OpenLease(record))
        if number < 5:
            close(ledger, record.id, Durations(1, 29_998, 1), record.opened_at + 30_000)
    present = Present(WallMs(T0 + 300_000), [LiveLease(record, Durations(0, 77, 0))])
    spending = await ledger.call(lambda connection: spending_by_user(connection, present, WallMs(month)))
    request = BillRequest(Period(WallMs(month)), by="user")
    whole = await ledger.call(lambda connection: build_bill(connection, present, request))
    assert {user: (spent.real, spent.simulated) for user, spent in spending.items()} == {
        group.key: (group.cost_nanodollars, group.simulated_nanodollars) for group in whole.groups
    }
    assert whole.groups[0].cost_nanodollars > 2**63
    assert set(spending) == {"ada", "bob"}


async def test_a_kernels_gaps_are_known_after_a_restart(ledger: Ledger) -> None:
    ledger.put(do.SaveKernel(KernelRecord("k1", "ada", "perijove", "H100", KernelState.SUSPENDED, T0)))
    for name, at, simulated in (("one", T0, True), ("two", T0 - 5_000, False)):  # the clock was set back
        ledger.put(do.OpenLease(replace(lease(name, at=at, simulated=simulated), kernel_id="k1")))
        close(ledger, name, Durations(0, 10, 0), at + 10)
        if name == "one":
            ledger.put(do.CountGap(name, 7_000))
    savings = (await ledger.call(books.savings_by_kernel))["k1"]
    assert (savings.saved, savings.saved_simulated) == (7_000 * 1097, 7_000 * 1097)
    assert savings.last is not None
    assert (savings.last.id, savings.closed_at) == ("two", T0 - 4_990)
    ledger.put(do.OpenLease(replace(lease("three"), kernel_id="k1")))
    assert (await ledger.call(books.savings_by_kernel))["k1"].last is None
