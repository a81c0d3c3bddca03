"""The broker's page: its static files, and the stream that it lives on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse, StreamingResponse

from ... import wire
from .access import AsUser, TheBroker

router = APIRouter(tags=["dashboard"])

FILES = Path(__file__).parent.parent / "dashboard"
MONEY = Path(str(resources.files(wire))) / "money.js"
MOST_WATCHERS = 500
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
_HEADERS = {
    # Nothing from elsewhere, nothing inline, no frames around it: what a kernel's name contains can only be text.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for again each time, and answered with 304: a new broker has a new page
}


@router.get("/", include_in_schema=False)
async def get_page() -> Response:
    return _file("index.html")


@router.get("/dashboard/{name}", include_in_schema=False)
async def get_file(name: str) -> Response:
    return _file(name)


def _file(name: str) -> Response:
    path = MONEY if name == MONEY.name else FILES / name
    if path.parent not in (FILES, MONEY.parent) or path.suffix not in _TYPES or not path.is_file():
        raise HTTPException(404, "there is no such file")
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=_HEADERS)


@router.get("/api/live", response_class=StreamingResponse)
async def get_live(broker: TheBroker, identity: AsUser) -> StreamingResponse:
    """Server-sent events.

    Once: ``fleet`` (agents and GPUs), ``me`` (whose token this is), ``history`` (what each GPU did in the last five
    minutes). Then, looked at once a second and sent where they differ: ``agents`` (those that changed, and ids of those
    that are gone), ``figures`` (what GPUs and hosts do), ``latency`` (the last thousand attaches), ``mine`` (kernels
    and queue: a user's own, an admin's all), ``spending``. ``fleet`` comes again to who has missed changes.
    """
    if broker.live.watchers >= MOST_WATCHERS:
        raise HTTPException(503, f"{MOST_WATCHERS} pages watch this broker, which is the most; close one")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(broker.live.stream(identity), media_type="text/event-stream", headers=headers)
