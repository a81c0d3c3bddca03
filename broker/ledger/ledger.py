"""The ledger as the broker uses it: one thread owns the one connection that writes.

What is handed in is carried out in order. All that waits when the thread looks goes into one transaction, so a burst of
events costs one disk flush; renewals are held back for up to a second, and only the last of each lease is written.
Reads that must agree with what was just written (the bill, a restart) queue behind it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ..core import instructions as do
from . import audit, books
from .database import open_database

log = structlog.get_logger(__name__)
T = TypeVar("T")

RENEWALS_EVERY_S = 1.0
MOST_IN_ONE_COMMIT = 500


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    done: Future[Any] | None
    handed_in: float = field(default_factory=time.monotonic)


class Watch(Protocol):
    """Whom the writer's thread tells how it gets on."""

    def ledger_committed(self, delay_s: float) -> None: ...
    def ledger_failed(self) -> None: ...


class Ledger:
    """Open it, hand it instructions, close it. Safe to use from the event loop: nothing here waits for the disk."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_database(url)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._renewals: dict[str, do.RenewLease] = {}
        self._renewals_due = False
        self.watch: Watch | None = None
        self._thread = threading.Thread(target=self._write, name="perijove-ledger", daemon=True)
        self._thread.start()

    def put(self, instruction: do.LedgerInstruction) -> None:
        """Carry this out soon; in order with all that was handed in before."""
        if isinstance(instruction, do.RenewLease):
            self._renewals[instruction.lease_id] = instruction
            self._schedule_renewals()
            return
        if isinstance(instruction, do.OpenMonth):
            self.flush_renewals()  # its checkpoints are what these say, or more
        if isinstance(instruction, do.CloseLease):
            self._renewals.pop(instruction.lease_id, None)
        self._jobs.put(_Job(lambda connection: books.apply(connection, instruction), None))

    def record(self, entry: audit.AuditEntry) -> None:
        """Add to the audit log; in order with the leases it speaks of, and mostly in one transaction with them."""
        self._jobs.put(_Job(lambda connection: audit.append(connection, entry), None))

    async def call(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in the writer's transaction, after all that was handed in before; returns when it is on disk."""
        self.flush_renewals()
        done: Future[T] = Future()
        self._jobs.put(_Job(work, done))
        return await asyncio.wrap_future(done)

    async def durable(self) -> None:
        """Wait until all that was handed in so far is on disk."""
        await self.call(lambda _connection: None)

    def flush_renewals(self) -> None:
        renewals, self._renewals = self._renewals, {}
        if renewals:
            self._jobs.put(_Job(lambda connection: _apply_all(connection, list(renewals.values())), None))

    def _schedule_renewals(self) -> None:
        if self._renewals_due:
            return
        self._renewals_due = True
        asyncio.get_running_loop().call_later(RENEWALS_EVERY_S, self._flush_due)

    def _flush_due(self) -> None:
        self._renewals_due = False
        self.flush_renewals()

    def close(self) -> None:
        """Write what is left and stop; waits for the disk."""
        self.flush_renewals()
        self._jobs.put(None)
        self._thread.join()
        self._engine.dispose()

    # the writer's thread ----------------------------------------------------------------------------------------

    def _write(self) -> None:
        with self._engine.connect() as connection:
            while (job := self._jobs.get()) is not None:
                batch, closing = self._batch(job)
                self._commit(connection, batch)
                if closing:
                    return

    def _batch(self, first: _Job) -> tuple[list[_Job], bool]:
        batch = [first]
        while len(batch) < MOST_IN_ONE_COMMIT:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        """All in one transaction; if one of them fails, one by one, so that it takes no other with it."""
        try:
            with connection.begin():
                results = [job.work(connection) for job in batch]
        except Exception as error:  # noqa: BLE001 - a job is any caller's code; its failure is handed to that caller
            if len(batch) > 1:
                for job in batch:
                    self._commit(connection, [job])
                return
            _report_failure(batch[0], error)
            if self.watch is not None:
                self.watch.ledger_failed()
            return
        now = time.monotonic()
        for job, result in zip(batch, results, strict=True):
            if self.watch is not None:
                self.watch.ledger_committed(now - job.handed_in)
            if job.done is not None and not job.done.cancelled():
                job.done.set_result(result)


def _apply_all(connection: Connection, instructions: Sequence[do.LedgerInstruction]) -> None:
    for instruction in instructions:
        books.apply(connection, instruction)


def _report_failure(job: _Job, error: Exception) -> None:
    if job.done is not None and not job.done.cancelled():
        job.done.set_exception(error)
    elif isinstance(error, SQLAlchemyError):
        log.error("ledger.write_failed", error=type(error).__name__, detail=str(error.__cause__ or "")[:200])
    else:
        log.error("ledger.write_failed", error=type(error).__name__)
