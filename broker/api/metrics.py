"""``/metrics``: for Prometheus, with an admin's token, or without one from this machine where that was switched on."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import exposition
from prometheus_client.registry import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...wire.addresses import is_loopback
from ..auth import Authenticator, require
from ..broker import Broker
from ..ledger.tokens import Role
from ..telemetry.exposition import registry_of
from .access import TheBroker

router = APIRouter(tags=["metrics"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@router.get("/metrics", response_class=Response)
async def get_metrics(request: Request, broker: TheBroker) -> Response:
    """In the text format of Prometheus, or OpenMetrics where that is asked for."""
    if not (broker.settings.metrics_without_token and _from_here(request)):
        auth: Authenticator = request.app.state.auth
        require(await auth.identify(dict(request.scope["headers"])), Role.ADMIN)
    encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
    registry: CollectorRegistry | None = getattr(request.app.state, "metrics_registry", None)
    if registry is None:
        registry = request.app.state.metrics_registry = registry_of(broker)
    return Response(encode(registry), media_type=content_type)


async def counted(broker: Broker, http: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request and count it by its route's template, never by what stood in it; without a route, as "none"."""
    status = 500  # what becomes of an error that nobody expected

    async def send_on(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await http(scope, receive, send_on)
    finally:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        broker.metrics.requests[method, getattr(scope.get("route"), "path", "none"), status] += 1


def _from_here(request: Request) -> bool:
    """From this machine, and not through a proxy on it, which would make everybody look as if they were."""
    address = request.client.host if request.client is not None else ""
    return is_loopback(address) and not any(name in request.headers for name in _FORWARDED)
