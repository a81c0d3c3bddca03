"""``/api/bill`` and ``/api/leases``: what ran, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from ...wire.models import Bill
from ..core.clock import WallMs
from ..core.view import lease_view
from ..ledger.bill import iso
from .access import AsUser, TheBroker, visible_to

router = APIRouter(prefix="/api", tags=["money"])

Since = Annotated[str | None, Query(description="UTC, ISO 8601; leases are clipped to it", max_length=64)]


@router.get("/bill")
async def get_bill(broker: TheBroker, identity: AsUser, since: Since = None) -> Bill:
    """Every lease since a moment, and the totals. Simulated money is apart and never in the total."""
    return await broker.bill(since=read_moment(since), user=visible_to(identity))


def read_moment(text: str | None) -> WallMs | None:
    """A date or a moment; without a zone it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise HTTPException(400, f"{text!r} is no date; write it like 2026-11-01 or 2026-11-01T12:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return WallMs(int(moment.timestamp() * 1000))


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
