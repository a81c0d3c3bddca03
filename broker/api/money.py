"""``/api/bill`` and ``/api/leases``: what ran, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import StringConstraints

from ...wire.models import Bill, By
from ..core.clock import WallMs
from ..core.view import lease_view
from ..ledger.bill import BillRequest, iso
from ..ledger.course import Period
from .access import AsUser, TheBroker, visible_to

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MOST_KERNELS = 1000

router = APIRouter(prefix="/api", tags=["money"])

Since = Annotated[str | None, Query(description="UTC, ISO 8601; leases are clipped to it", max_length=64)]
Until = Annotated[str | None, Query(description="the same; what ran from then on is left out", max_length=64)]
KernelId = Annotated[str, StringConstraints(max_length=64)]


@router.get("/bill")
async def get_bill(
    broker: TheBroker,
    identity: AsUser,
    since: Since = None,
    until: Until = None,
    by: Annotated[By | None, Query(description="adds groups; days are UTC")] = None,
    kernel: Annotated[list[KernelId] | None, Query(description="only of these", max_length=MOST_KERNELS)] = None,
) -> Bill:
    """Every lease of a period, and the totals. Simulated money is apart and never in the total."""
    period = Period(read_moment(since), read_moment(until))
    if period.since is not None and period.until is not None and period.until < period.since:
        raise HTTPException(400, f"the period ends ({until}) before it begins ({since}); exchange since and until")
    kernels = None if kernel is None else frozenset(kernel)
    return await broker.bill(BillRequest(period, visible_to(identity), kernels, by))


def read_moment(text: str | None) -> WallMs | None:
    """A date or a moment; without a zone it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise HTTPException(400, f"{text!r} is no date; write it like 2026-11-01 or 2026-11-01T12:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return WallMs((moment - EPOCH) // MILLISECOND)


@router.get("/leases")
async def get_leases(broker: TheBroker, identity: AsUser) -> list[dict[str, Any]]:
    """The leases that are open now."""
    now, user = broker.now(), visible_to(identity)
    return [
        {
            **lease_view(kernel.lease, now.boot).model_dump(mode="json"),
            "kernel": kernel.id,
            "user": kernel.user,
            "gpu": kernel.lease.record.model,
            "agent": kernel.lease.record.agent_name,
            "simulated": kernel.lease.record.simulated,
            "gpus": list(kernel.lease.record.gpus),
            "opened_at": iso(kernel.lease.record.opened_at),
        }
        for kernel in broker.fleet.kernels.values()
        if kernel.lease is not None and user in (None, kernel.user)
    ]
