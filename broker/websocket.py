"""uvicorn's WebSocket protocol, with what long-lived relayed links need besides.

This implementation of uvicorn's waits on both sides: ``send`` waits while the peer does not read, and reading stops
while the application does not. But it closes a dead connection only after all buffered data is sent, which a dead peer
never takes; so a link can also be aborted here.
"""

from __future__ import annotations

import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION = "perijove.abort"


class LinkProtocol(WebSocketsSansIOProtocol):
    def connection_made(self, transport: BaseTransport) -> None:
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # not where the handshake was refused
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[EXTENSION] = self.abort

    def abort(self) -> None:
        """Close now, without waiting for the peer to take what is buffered."""
        self.transport.abort()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()


def abort_of(scope: Any) -> Callable[[], None]:
    """How to abort the connection of a WebSocket scope; with another server, nothing but an ordinary close is known."""
    abort: Callable[[], None] = scope.get("extensions", {}).get(EXTENSION, lambda: None)
    return abort
