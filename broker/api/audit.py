"""``/api/audit``: who attached, released, changed budgets, made tokens and ended kernels. Users see their own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from ..ledger.audit import entries
from ..ledger.bill import iso
from .access import AsUser, TheBroker, visible_to
from .money import Since, read_moment

router = APIRouter(prefix="/api", tags=["audit"])

MOST_ENTRIES = 1000


@router.get("/audit")
async def get_audit(
    broker: TheBroker,
    identity: AsUser,
    since: Since = None,
    before: Annotated[int | None, Query(description="a `seq`: only what is older", ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = 100,
) -> dict[str, Any]:
    """The newest entries first; ``before`` the last ``seq`` of this answer gives those that come after it."""
    moment, user = read_moment(since), visible_to(identity)
    rows = await broker.ledger.call(
        lambda connection: entries(connection, user=user, since=moment, before=before, limit=limit + 1)
    )
    return {"entries": [{**row, "at": iso(row["at"])} for row in rows[:limit]], "more": len(rows) > limit}
