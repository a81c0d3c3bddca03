"""What front-ends look at before they speak the API: is this a Jupyter server, and where is the code of widgets."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse, HTMLResponse

from .access import AsUser, TheBroker

router = APIRouter(tags=["front door"])

NBEXTENSIONS = Path(sys.prefix) / "share" / "jupyter" / "nbextensions"
_FILE_NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]*\Z")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Perijove broker</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color-scheme:light dark}}
code{{background:#8883;padding:.1em .3em;border-radius:.2em}}</style></head>
<body><h1>Perijove broker {version}</h1>
<p>This is a Jupyter server with GPU kernels. In VS Code choose <em>Existing Jupyter Server</em> with this address and
your token; with JupyterLab run <code>jupyter lab --gateway-url=…</code>. The API is described at
<a href="docs">/docs</a>; what runs is <a href="./">on the first page</a>.</p></body></html>
"""


@router.get("/tree", response_class=HTMLResponse, include_in_schema=False)
@router.get("/lab", response_class=HTMLResponse, include_in_schema=False)
@router.get("/login", response_class=HTMLResponse, include_in_schema=False)
async def get_page(broker: TheBroker) -> HTMLResponse:
    """VS Code looks whether there is something here; a form would make it ask for a password."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return HTMLResponse(_PAGE.format(version=broker.version), headers={"Content-Security-Policy": policy})


@router.get("/nbextensions/{path:path}", response_class=FileResponse, include_in_schema=False)
async def get_nbextension(path: str) -> Response:
    """The front-end's part of widget packages that are installed beside the broker: public code, for anybody."""
    parts = path.split("/")
    if not all(_FILE_NAME.match(part) for part in parts):
        raise HTTPException(404, "there is no such file")
    file = NBEXTENSIONS.joinpath(*parts)
    if not file.is_file():
        raise HTTPException(404, f"no widget package with {path[:100]!r} is installed beside this broker")
    return FileResponse(file, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/api/contents", include_in_schema=False)
@router.get("/api/contents/{path:path}", include_in_schema=False)
async def get_contents(_: AsUser, path: str = "") -> Any:
    raise HTTPException(404, "a broker keeps no files; notebooks stay where the front-end is")


@router.get("/api/terminals", include_in_schema=False)
async def list_terminals(_: AsUser) -> list[Any]:
    return []
