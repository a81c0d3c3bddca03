"""``/api/gpus``, ``/api/status``: what there is and how it is; ``/healthz`` for who starts brokers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ...wire.models import KernelState
from ..ledger.bill import iso
from .access import AsUser, TheBroker, visible_to
from .documents import agent_document, gpu_documents, kernel_line

router = APIRouter(tags=["status"])


@router.get("/healthz")
async def get_health(broker: TheBroker) -> dict[str, Any]:
    """Needs no token and says nothing about anyone."""
    return {"status": "ok", "version": broker.version}


@router.get("/api")
async def get_version(broker: TheBroker) -> dict[str, Any]:
    """As Jupyter servers answer it."""
    return {"version": broker.version}


@router.get("/api/gpus")
async def get_gpus(broker: TheBroker, _: AsUser) -> dict[str, Any]:
    return {"gpus": [gpu for agent in broker.fleet.agents.values() for gpu in gpu_documents(broker, agent)]}


@router.get("/api/status")
async def get_status(broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    """Jupyter's server status, and the document of ``perijove status --json``."""
    kernels = broker.fleet.living_kernels(visible_to(identity))
    now = broker.now()
    queued = sorted((k for k in kernels if k.state is KernelState.QUEUED), key=lambda k: k.asked_at)
    started = iso(broker.started.wall)[:-1] + "000Z"
    return {
        "started": started,
        "last_activity": iso(now.wall)[:-1] + "000Z",
        "connections": sum(k.link_id is not None for k in kernels),
        "broker": {
            "version": broker.version,
            "started": started,
            "uptime_s": (now.boot - broker.started.boot) / 1000,
            "idle_timeout_s": broker.settings.idle_timeout_s,
            "prices_dated": broker.fleet.state.prices.dated,
            "prices_source": broker.fleet.state.prices.source,
        },
        "agents": [agent_document(broker, agent) for agent in broker.fleet.agents.values()],
        "kernels": [kernel_line(broker, kernel) for kernel in kernels],
        "queue": [
            {
                "kernel": k.id,
                "user": k.user,
                "gpu": str(k.spec),
                "reason": k.queue_reason,
                "waiting_s": (now.boot - k.asked_at) / 1000,
            }
            for k in queued
        ],
    }
