"""What users may spend, as the ledger keeps it: one row for each user, scope, and who set it."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, insert, select

from ...wire.states import BudgetScope, SetBy
from ..core.clock import WallMs
from ..core.purse import LimitRecord
from .tables import limits


def save_limit(connection: Connection, limit: LimitRecord) -> None:
    forget_limit(connection, limit.user, limit.scope, limit.set_by)
    row = {
        "user": limit.user,
        "scope": limit.scope.value,
        "set_by": limit.set_by.value,
        "nanodollars": limit.nanodollars,
        "by": limit.by,
        "at": limit.at,
    }
    connection.execute(insert(limits).values(row))


def forget_limit(connection: Connection, user: str, scope: BudgetScope, set_by: SetBy) -> None:
    row = and_(limits.c.user == user, limits.c.scope == scope.value, limits.c.set_by == set_by.value)
    connection.execute(delete(limits).where(row))


def known_limits(connection: Connection) -> list[LimitRecord]:
    return [
        LimitRecord(
            user=row["user"],
            scope=BudgetScope(row["scope"]),
            set_by=SetBy(row["set_by"]),
            nanodollars=row["nanodollars"],
            by=row["by"],
            at=WallMs(row["at"]),
        )
        for row in connection.execute(select(limits)).mappings()
    ]
