"""The door for WebSockets: which link is meant, who is there, and may they; then one task reads and one sends.

Links are plain ASGI and not routes of the HTTP framework: its layers would be gone through for every relayed message.
"""

from __future__ import annotations

import asyncio
import re

import structlog

from ...wire.errors import KernelNotFound, NotAuthorized, PerijoveError
from ..audit import act_as
from ..auth import Authenticator, NoValidToken, check_host_and_origin, require
from ..broker import Broker
from ..doors.doors import ElsewhereLinked
from ..ledger.audit import Via
from ..ledger.tokens import Identity, Role
from ..websocket import connection_of
from .agent_link import run_agent_link
from .client_link import run_client_link
from .data_link import run_data_link
from .link import Link, LinkClosed, Receive, Scope, Send

log = structlog.get_logger(__name__)

HELLO_WITHIN_S = 10.0
LINGER_S = 5.0  # for the last words of a link that we close
_CLIENT = re.compile(r"/api/kernels/([0-9a-fA-F-]{1,64})/link\Z")
_CHANNELS = re.compile(r"/api/kernels/([0-9a-fA-F-]{1,64})/channels\Z")
_AGENT = re.compile(r"/api/agents/link\Z")
_DATA = re.compile(r"/api/agents/processes/([0-9a-f]{32})/link\Z")


async def serve_websocket(broker: Broker, auth: Authenticator, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one WebSocket, from its handshake to its end."""
    await receive()  # websocket.connect
    try:
        headers = dict(scope["headers"])
        check_host_and_origin(headers, broker.settings)
        identity = await auth.identify(headers, scope["query_string"])
        act_as(identity.name, Via.JUPYTER if _CHANNELS.match(str(scope["path"])) else Via.LINK)
        kind = _which(broker, str(scope["path"]), identity)
    except NotAuthorized as error:
        await _deny(send, 401 if isinstance(error, NoValidToken) else 403, str(error))
        return
    except ElsewhereLinked as error:
        await _deny(send, 409, str(error))
        return
    except PerijoveError as error:
        await _deny(send, 404, str(error))
        return
    if channels := _CHANNELS.match(str(scope["path"])):
        await broker.doors.serve(channels[1], scope, receive, send)
        return
    await send({"type": "websocket.accept"})
    link = Link(kind, identity.token_hash, receive, send, connection_of(scope))
    await _run(broker, link, str(scope["path"]))


def _which(broker: Broker, path: str, identity: Identity) -> str:
    """The kind of link that a path names, if this identity may have it.

    Raises:
        NotAuthorized: when the token is of another role.
        KernelNotFound: when there is no such kernel, or it is somebody else's: which of the two is nobody's business.
    """
    if client := _CLIENT.match(path) or _CHANNELS.match(path):
        require(identity, Role.USER, Role.ADMIN)
        kernel = broker.fleet.kernel(client[1])
        if kernel is None or (identity.role is not Role.ADMIN and kernel.user != identity.name):
            raise KernelNotFound(f"there is no kernel {client[1]} here; it may have been ended elsewhere")
        if _CHANNELS.match(path):
            broker.doors.host(kernel)
            return "channels"
        if broker.doors.holds_link(kernel.id):
            raise ElsewhereLinked(f"kernel {kernel.id} is used by Jupyter front-ends at this broker")
        return "client"
    if _AGENT.match(path) or _DATA.match(path):
        require(identity, Role.AGENT)
        return "agent" if _AGENT.match(path) else "process"
    raise KernelNotFound(f"there is no link at {path}")


async def _run(broker: Broker, link: Link, path: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        pump = tasks.create_task(link.pump())
        reader = tasks.create_task(_read(broker, link, path))
        await asyncio.wait((pump, reader), return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            link.close_soon("")  # lets what was said last go out
            await asyncio.wait((pump,), timeout=LINGER_S)
            pump.cancel()
        elif not reader.done():
            # We closed: take the peer's answer to that, but do not wait for one that never comes.
            await asyncio.wait((reader,), timeout=LINGER_S)
            reader.cancel()
        if not pump.done() or not reader.done():
            link.abort()


async def _read(broker: Broker, link: Link, path: str) -> None:
    if data := _DATA.match(path):
        await run_data_link(broker, link, bytes.fromhex(data[1]))
        return
    try:
        async with asyncio.timeout(HELLO_WITHIN_S):
            hello = await link.receive()
    except (LinkClosed, TimeoutError):
        return
    text = hello if isinstance(hello, str) else ""
    if client := _CLIENT.match(path):
        await run_client_link(broker, link, client[1], text)
    else:
        await run_agent_link(broker, link, text)


async def _deny(send: Send, status: int, message: str) -> None:
    """Refuse the handshake with a status that says why; nothing is accepted first."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": message.encode()})
