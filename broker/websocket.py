"""uvicorn's WebSocket protocol, with what long-lived relayed links need besides.

This implementation of uvicorn's waits on both sides: ``send`` waits while the peer does not read, and reading stops
while the application does not. But it closes a dead connection only after all buffered data is sent, which a dead peer
never takes, so a link can also be aborted here; and it copies each message three times on its way out, which the relay
of large messages can do without.
"""

from __future__ import annotations

import socket
import struct
from asyncio.transports import BaseTransport
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

EXTENSION = "perijove.connection"
_FINAL_BINARY = 0x82  # RFC 6455, section 5.2: FIN and opcode 2; a server does not mask


class LinkProtocol(WebSocketsSansIOProtocol):
    def connection_made(self, transport: BaseTransport) -> None:
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # not where the handshake was refused
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self

    async def send_binary(self, data: bytes) -> None:
        """Send a binary message; waits while the peer does not read.

        Raises:
            ConnectionError: when the link is closed.
        """
        await self.writable.wait()
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ConnectionResetError("the link is closed")
        self.transport.writelines((binary_header(len(data)), data))

    def abort(self) -> None:
        """Close now, without waiting for the peer to take what is buffered."""
        self.transport.abort()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()


def binary_header(size: int) -> bytes:
    """What goes before an unmasked, unfragmented binary message of so many bytes."""
    if size < 126:
        return struct.pack("!BB", _FINAL_BINARY, size)
    if size < 1 << 16:
        return struct.pack("!BBH", _FINAL_BINARY, 126, size)
    return struct.pack("!BBQ", _FINAL_BINARY, 127, size)


def connection_of(scope: Any) -> LinkProtocol:
    """The connection of a WebSocket scope; the broker runs on no other server."""
    connection: LinkProtocol = scope["extensions"][EXTENSION]
    return connection
