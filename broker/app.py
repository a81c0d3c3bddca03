"""The broker as one ASGI application: WebSockets go to ``links/``, everything else to the HTTP API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..wire.errors import InvalidGpuSpec, KernelNotFound, NoSuchAgent, NotAuthorized, PerijoveError
from .api import (
    agents,
    audit,
    dashboard,
    front_door,
    kernels,
    kernelspecs,
    limits,
    metrics,
    money,
    sessions,
    status,
    tokens,
)
from .auth import Authenticator, NoValidToken, check_host_and_origin
from .broker import Broker
from .doors.doors import ElsewhereLinked
from .links.endpoint import serve_websocket
from .links.link import Message, Receive, Scope, Send

LARGEST_BODY_BYTES = 1 << 20
MOST_PROBLEMS_TOLD = 5
_STATUS: dict[type[PerijoveError], int] = {
    NoValidToken: 401,
    NotAuthorized: 403,
    KernelNotFound: 404,
    NoSuchAgent: 404,
    kernelspecs.NoSuchKernelspec: 404,
    sessions.NoSuchSession: 404,
    ElsewhereLinked: 409,
    InvalidGpuSpec: 400,
    kernels.TooManyKernels: 429,
    sessions.TooManySessions: 429,
}


def make_app(broker: Broker) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    auth = Authenticator(broker.ledger)
    http = _make_http(broker, auth)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await serve_websocket(broker, auth, scope, receive, send)
        elif scope["type"] == "http":
            await metrics.counted(broker, http, _taken_as_json(scope), _bounded(receive), send)

    return app


def _make_http(broker: Broker, auth: Authenticator) -> FastAPI:
    http = FastAPI(title="Perijove broker", version=broker.version, docs_url="/docs", redoc_url=None)
    http.state.broker, http.state.auth = broker, auth
    parts = (
        dashboard,
        front_door,
        status,
        agents,
        kernelspecs,
        kernels,
        sessions,
        money,
        limits,
        tokens,
        metrics,
        audit,
    )
    for part in parts:
        http.include_router(part.router)

    @http.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        try:
            check_host_and_origin(dict(request.scope["headers"]), broker.settings)
        except NotAuthorized as error:
            return _as_json(error)
        if int(request.headers.get("content-length", "0")) > LARGEST_BODY_BYTES:
            too_large = {"code": "too_large", "message": "the body of this request is too large", "reason": None}
            return JSONResponse(too_large, 413)
        return await call_next(request)

    @http.exception_handler(PerijoveError)
    async def say_why(_: Request, error: PerijoveError) -> JSONResponse:
        return _as_json(error)

    @http.exception_handler(HTTPException)
    async def say_what(_: Request, error: HTTPException) -> JSONResponse:
        """In the shape that Jupyter's clients show."""
        return JSONResponse({"message": str(error.detail), "reason": None}, error.status_code, error.headers)

    @http.exception_handler(RequestValidationError)
    async def say_where(_: Request, error: RequestValidationError) -> JSONResponse:
        places = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'][1:]) or 'the body'}: {problem['msg']}"
            for problem in error.errors()[:MOST_PROBLEMS_TOLD]
        )
        return JSONResponse({"message": f"this request cannot be read: {places}", "reason": None}, 422)

    if broker.settings.allowed_origins:
        http.add_middleware(
            CORSMiddleware,
            allow_origins=broker.settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return http


def _as_json(error: PerijoveError) -> JSONResponse:
    status_code = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"WWW-Authenticate": "Bearer"} if status_code == 401 else None
    return JSONResponse({"code": error.code, "message": error.message, "reason": None}, status_code, headers)


def _taken_as_json(scope: Scope) -> Scope:
    """``@jupyterlab/services``, in JupyterLab and VS Code, sends JSON without saying so: browsers and Node then say
    that it is plain text. Every body here is JSON, and nothing is done without a token, which no form can send."""
    headers = [
        (name, b"application/json" if name == b"content-type" and value.startswith(b"text/plain") else value)
        for name, value in scope["headers"]
    ]
    return {**scope, "headers": headers}


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
