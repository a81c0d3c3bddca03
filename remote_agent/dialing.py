"""How an agent dials its broker: outbound WebSockets only, so that it works behind NAT and firewalls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect

from ..wire.envelope import MAX_MESSAGE_BYTES
from ..wire.link_connection import LinkConnection
from .settings import AgentSettings

_OPEN_TIMEOUT_S = 10.0
_PING_EVERY_S = 15.0
_WRITE_BUFFER_BYTES = 1 << 20  # one message may wait in the socket's buffer; more would put bulk in front of output

C = TypeVar("C", bound=ClientConnection)
Dial = Callable[[str], AbstractAsyncContextManager[C]]
"""Opens a WebSocket to a path of the broker."""


class ControlConnection(ClientConnection):
    """Of the control link: one message after the other, by whoever waits for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _no_delay(self.transport)


class DataConnection(LinkConnection):
    """Of a data link."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _no_delay(self.transport)


def _no_delay(transport: asyncio.BaseTransport) -> None:
    """Nagle's algorithm is worth 40 ms per cell: off, whatever the event loop's default is."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def dialer(settings: AgentSettings, kind: type[C]) -> Dial[C]:
    def dial(path: str) -> AbstractAsyncContextManager[C]:
        return connect(  # type: ignore[return-value]
            settings.link_url(path),
            additional_headers={"Authorization": f"Bearer {settings.token}"},
            compression=None,
            create_connection=kind,
            max_size=MAX_MESSAGE_BYTES + 4096,
            open_timeout=_OPEN_TIMEOUT_S,
            ping_interval=_PING_EVERY_S,
            ping_timeout=_PING_EVERY_S,
            close_timeout=1.0,
            write_limit=_WRITE_BUFFER_BYTES,
            proxy=None if settings.is_loopback else True,
        )

    return dial
