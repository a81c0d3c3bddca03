"""What the core's ledger instructions mean in SQL. Each function is one step inside a transaction of the writer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update
from sqlalchemy import delete as sql_delete

from ...wire.models import KernelState
from ...wire.money import cost_nanodollars
from ..core import instructions as do
from ..core.clock import WallMs
from ..core.meter import Durations, capped
from ..core.records import DrainRecord, KernelRecord, KernelsSavings, LeaseRecord
from ..core.state import LATE_PROOF_WANTED_MS
from .limits import forget_limit, save_limit
from .tables import drains, kernels, lease_events, leases, months

MONTH = "month"  # the kind of the checkpoints at a month's beginning
CHECKPOINT_MS = 60_000  # a bill clipped inside a lease is exact at checkpoints and interpolated between them


def apply(connection: Connection, instruction: do.LedgerInstruction) -> None:
    match instruction:
        case do.OpenLease(lease):
            _open(connection, lease)
        case do.RenewLease(lease_id, durations, at):
            _renew(connection, lease_id, durations, at)
        case do.CloseLease():
            _close(connection, instruction)
        case do.AdjustLease():
            _adjust(connection, instruction)
        case do.CountGap(lease_id, ms):
            connection.execute(update(leases).where(leases.c.id == lease_id).values(gap_ms=ms))
        case do.SaveKernel(kernel):
            _save_kernel(connection, kernel)
        case do.ForgetKernel(kernel_id):
            connection.execute(sql_delete(kernels).where(kernels.c.id == kernel_id))
        case do.SaveDrain(drain):
            _forget_drain(connection, drain.agent_id)
            connection.execute(insert(drains).values(asdict(drain)))
        case do.ForgetDrain(agent_id):
            _forget_drain(connection, agent_id)

        case do.SaveLimit(limit):
            save_limit(connection, limit)
        case do.ForgetLimit(user, scope, set_by):
            forget_limit(connection, user, scope, set_by)
        case do.OpenMonth(start, proven):
            open_month(connection, start, proven)


def _forget_drain(connection: Connection, agent_id: str) -> None:
    connection.execute(sql_delete(drains).where(drains.c.agent_id == agent_id))


def _open(connection: Connection, lease: LeaseRecord) -> None:
    row = {
        "id": lease.id,
        "kernel_id": lease.kernel_id,
        "user": lease.user,
        "agent_id": lease.agent_id,
        "agent_name": lease.agent_name,
        "model": lease.model,
        "count": lease.count,
        "gpus": list(lease.gpus),
        "simulated": lease.simulated,
        "price_microdollars_per_second": lease.price_microdollars_per_second,
        "opened_at": lease.opened_at,
        "renewed_at": lease.opened_at,
        "closed_at": None,
        "confirmed": False,
        "notebook": lease.notebook,
        "gap_ms": 0,
        **_columns(lease.durations),
    }
    connection.execute(insert(leases).values(row))
    _append(connection, lease.id, lease.opened_at, "opened", lease.durations)


def _renew(connection: Connection, lease_id: str, durations: Durations, at: WallMs) -> None:
    changed = connection.execute(
        update(leases)
        .where(leases.c.id == lease_id, leases.c.closed_at.is_(None))
        .values(renewed_at=at, **_columns(durations))
    )
    if not changed.rowcount:
        return
    last = connection.execute(
        select(lease_events.c.at)
        .where(lease_events.c.lease_id == lease_id)
        .order_by(lease_events.c.seq.desc())
        .limit(1)
    ).scalar_one_or_none()
    if last is None or at - last >= CHECKPOINT_MS:
        _append(connection, lease_id, at, "checkpoint", durations)


def _close(connection: Connection, close: do.CloseLease) -> None:
    """Once; a lease that its agent did not confirm ends when that was last heard of."""
    row = _lease(connection, close.lease_id)
    if row is None or row["closed_at"] is not None:
        return
    at = close.at if close.confirmed else WallMs(row["renewed_at"])
    at = max(at, _not_before(connection, close.lease_id, close.durations))
    connection.execute(
        update(leases)
        .where(leases.c.id == close.lease_id)
        .values(closed_at=at, confirmed=close.confirmed, **_columns(close.durations))
    )
    _append(connection, close.lease_id, at, "closed", close.durations)


def _adjust(connection: Connection, adjust: do.AdjustLease) -> None:
    """Late proof adds what was served after the last renewal, within the time that passed; it takes nothing away."""
    row = _lease(connection, adjust.lease_id)
    if row is None or row["closed_at"] is None or row["confirmed"]:
        return
    durations = capped(adjust.durations, adjust.at - row["opened_at"])
    if durations.total_ms < durations_of(row).total_ms:
        return
    closed_at = min(adjust.at, max(row["closed_at"], row["opened_at"] + durations.total_ms))
    closed_at = max(closed_at, _not_before(connection, adjust.lease_id, durations))
    connection.execute(
        update(leases)
        .where(leases.c.id == adjust.lease_id)
        .values(closed_at=closed_at, confirmed=True, **_columns(durations))
    )
    _append(connection, adjust.lease_id, WallMs(closed_at), "adjusted", durations)


def open_month(connection: Connection, start: WallMs, proven: Mapping[str, Durations]) -> None:
    """Once: a checkpoint at the boundary for each lease that is not finished, with what was proven of it until now."""
    if connection.execute(select(months.c.start).where(months.c.start == start)).scalar_one_or_none() is not None:
        return
    connection.execute(insert(months).values(start=start))
    known = select(lease_events.c.lease_id, func.min(lease_events.c.at), func.max(lease_events.c.at))
    query = known.where(lease_events.c.lease_id.in_(list(proven))).group_by(lease_events.c.lease_id)
    for lease_id, opened_at, last_at in connection.execute(query).all():
        if opened_at < start and last_at < start:
            _append(connection, lease_id, start, MONTH, proven[lease_id])


def _not_before(connection: Connection, lease_id: str, durations: Durations) -> WallMs:
    """A lease that has proven more since a month was opened ends in that month, for all that looks at its end."""
    query = (
        select(lease_events)
        .where(lease_events.c.lease_id == lease_id, lease_events.c.kind == MONTH)
        .order_by(lease_events.c.seq.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return WallMs(0)
    return WallMs(row["at"] + (durations.total_ms > durations_of(row).total_ms))


def _save_kernel(connection: Connection, kernel: KernelRecord) -> None:
    values = {
        "user": kernel.user,
        "name": kernel.name,
        "spec": kernel.spec,
        "state": kernel.state.value,
        "created_at": kernel.created_at,
        "idle_timeout_ms": kernel.idle_timeout_ms,
        "incarnation": kernel.incarnation,
        "agent_id": kernel.agent_id,
        "agent_name": kernel.agent_name,
        "keepable": kernel.keepable,
        "notice": kernel.notice,
        "budget_nanodollars": kernel.budget_nanodollars,
        "notebook": kernel.notebook,
        "kept_until": kernel.kept_until,
        "keep_extra_ms": kernel.keep_extra_ms,
    }
    changed = connection.execute(update(kernels).where(kernels.c.id == kernel.id).values(values))
    if not changed.rowcount:
        connection.execute(insert(kernels).values(id=kernel.id, **values))


# reading ----------------------------------------------------------------------------------------------------------


def known_kernels(connection: Connection) -> list[KernelRecord]:
    return [
        KernelRecord(**{**row, "state": KernelState(row["state"])})
        for row in connection.execute(select(kernels)).mappings()
    ]


def known_drains(connection: Connection) -> list[DrainRecord]:
    return [DrainRecord(**row) for row in connection.execute(select(drains)).mappings()]


def open_leases(connection: Connection) -> list[LeaseRecord]:
    rows = connection.execute(select(leases).where(leases.c.closed_at.is_(None))).mappings()
    return [lease_of(row) for row in rows]


def unconfirmed_leases(connection: Connection, now: WallMs) -> list[LeaseRecord]:
    """Leases that were closed without their agent's word, lately enough that it may still come."""
    query = select(leases).where(leases.c.closed_at > now - LATE_PROOF_WANTED_MS, ~leases.c.confirmed)
    return [lease_of(row) for row in connection.execute(query).mappings()]


def spent_by_kernel(connection: Connection) -> dict[str, tuple[int, int]]:
    """For each kernel that is known, what its closed leases cost, and the simulated part of that; nano-dollars.

    Milliseconds are summed up by price and multiplied here: a database's integers could overflow, and SQLite would go
    on with floats.
    """
    ran_ms = func.sum(leases.c.starting_ms + leases.c.busy_ms + leases.c.idle_ms)
    price = (leases.c.price_microdollars_per_second, leases.c.count, leases.c.simulated)
    query = (
        select(leases.c.kernel_id, *price, ran_ms)
        .where(leases.c.closed_at.is_not(None), leases.c.kernel_id.in_(select(kernels.c.id)))
        .group_by(leases.c.kernel_id, *price)
    )
    spent: dict[str, tuple[int, int]] = {}
    for kernel_id, microdollars_per_second, count, simulated, ms in connection.execute(query):
        cost = cost_nanodollars(microdollars_per_second, count, int(ms))
        before, part = spent.get(kernel_id, (0, 0))
        spent[kernel_id] = (before + cost, part + (cost if simulated else 0))
    return spent


def savings_by_kernel(connection: Connection) -> dict[str, KernelsSavings]:
    """For each kernel that is known and has had a lease: its gaps, and when the one it is in began."""
    opened = (
        select(leases, lease_events.c.seq)
        .join(lease_events, (lease_events.c.lease_id == leases.c.id) & (lease_events.c.kind == "opened"))
        .where(leases.c.kernel_id.in_(select(kernels.c.id)))
        .order_by(lease_events.c.seq)  # wall time may have jumped
    )
    rows: dict[str, list[RowMapping]] = defaultdict(list)
    for row in connection.execute(opened).mappings():
        rows[row["kernel_id"]].append(row)
    return {kernel_id: _savings(found) for kernel_id, found in rows.items()}


def _savings(rows: Sequence[RowMapping]) -> KernelsSavings:
    """Of one kernel's leases, in order."""
    *earlier, last = rows
    saved = {True: 0, False: 0}
    for row in earlier:
        saved[row["simulated"]] += row["price_microdollars_per_second"] * row["count"] * row["gap_ms"]
    is_open = last["closed_at"] is None
    closed_at = WallMs(max(last["opened_at"], 0 if is_open else last["closed_at"]))
    return KernelsSavings(saved[True] + saved[False], saved[True], None if is_open else lease_of(last), closed_at)


def lease_of(row: RowMapping) -> LeaseRecord:
    return LeaseRecord(
        id=row["id"],
        kernel_id=row["kernel_id"],
        user=row["user"],
        agent_id=row["agent_id"],
        agent_name=row["agent_name"],
        model=row["model"],
        count=row["count"],
        gpus=tuple(row["gpus"]),
        simulated=row["simulated"],
        price_microdollars_per_second=row["price_microdollars_per_second"],
        opened_at=WallMs(row["opened_at"]),
        durations=durations_of(row),
        notebook=row["notebook"],
    )


def durations_of(row: RowMapping) -> Durations:
    return Durations(row["starting_ms"], row["busy_ms"], row["idle_ms"])


def _lease(connection: Connection, lease_id: str) -> RowMapping | None:
    return connection.execute(select(leases).where(leases.c.id == lease_id)).mappings().one_or_none()


def _append(connection: Connection, lease_id: str, at: WallMs, kind: str, durations: Durations) -> None:
    connection.execute(insert(lease_events).values(lease_id=lease_id, at=at, kind=kind, **_columns(durations)))


def _columns(durations: Durations) -> dict[str, Any]:
    return {"starting_ms": durations.starting_ms, "busy_ms": durations.busy_ms, "idle_ms": durations.idle_ms}
