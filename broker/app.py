"""The broker as one ASGI application: WebSockets go to ``links/``, everything else to the HTTP API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ..wire.errors import InvalidGpuSpec, KernelNotFound, NotAuthorized, PerijoveError
from .api import kernels, money, status, tokens
from .auth import Authenticator, NoValidToken, check_host_and_origin
from .broker import Broker
from .links.endpoint import serve_websocket
from .links.link import Message, Receive, Scope, Send

LARGEST_BODY_BYTES = 1 << 20
_STATUS = {NoValidToken: 401, NotAuthorized: 403, KernelNotFound: 404, InvalidGpuSpec: 400, kernels.TooManyKernels: 429}


def make_app(broker: Broker) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    auth = Authenticator(broker.ledger)
    http = _make_http(broker, auth)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await serve_websocket(broker, auth, scope, receive, send)
        elif scope["type"] == "http":
            await http(scope, _bounded(receive), send)

    return app


def _make_http(broker: Broker, auth: Authenticator) -> FastAPI:
    http = FastAPI(title="Perijove broker", version=broker.version, docs_url="/docs", redoc_url=None)
    http.state.broker, http.state.auth = broker, auth
    for part in (status, kernels, money, tokens):
        http.include_router(part.router)

    @http.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        try:
            check_host_and_origin(dict(request.scope["headers"]), broker.settings)
        except NotAuthorized as error:
            return _as_json(error)
        if int(request.headers.get("content-length", "0")) > LARGEST_BODY_BYTES:
            return JSONResponse({"code": "too_large", "message": "the body of this request is too large"}, 413)
        return await call_next(request)

    @http.exception_handler(PerijoveError)
    async def say_why(_: Request, error: PerijoveError) -> JSONResponse:
        return _as_json(error)

    return http


def _as_json(error: PerijoveError) -> JSONResponse:
    status_code = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"WWW-Authenticate": "Bearer"} if status_code == 401 else None
    return JSONResponse({"code": error.code, "message": error.message}, status_code, headers)


class BodyTooLarge(Exception):
    """A body without an announced length grew too large."""


def _bounded(receive: Receive) -> Receive:
    """Bodies sent in pieces have no length to check beforehand."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY_BYTES:
            return {"type": "http.disconnect"}
        return message

    return receive_some
