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
# RFC 6455, section 5.2: FIN and opcode; a server does not mask.
_FINAL_TEXT = 0x81
_FINAL_BINARY = 0x82


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
        self._write(data)

    def send_at_once(self, message: str | bytes) -> bool:
        """Send a message if the peer reads. False: it would have to wait, and nothing was sent.

        Raises:
            ConnectionError: when the link is closed.
        """
        if not self.writable.is_set():
            return False
        self._write(message)
        return True

    async def send_message(self, message: str | bytes) -> None:
        """Send a message; waits while the peer does not read.

        Raises:
            ConnectionError: when the link is closed.
        """
        await self.writable.wait()
        self._write(message)

    def _write(self, message: str | bytes) -> None:
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ConnectionResetError("the link is closed")
        if isinstance(message, str):
            data = message.encode("utf-8", "replace")
            self.transport.writelines((frame_header(_FINAL_TEXT, len(data)), data))
        else:
            self.transport.writelines((frame_header(_FINAL_BINARY, len(message)), message))

    def take_messages_of(self, size_bytes: int) -> None:
        """How large a message may be here; other links keep theirs."""
        self.conn.max_message_size = size_bytes

    def abort(self) -> None:
        """Close now, without waiting for the peer to take what is buffered."""
        self.transport.abort()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()


def frame_header(opcode: int, size: int) -> bytes:
    """What goes before an unmasked, unfragmented message of so many bytes."""
    if size < 126:
        return struct.pack("!BB", opcode, size)
    if size < 1 << 16:
        return struct.pack("!BBH", opcode, 126, size)
    return struct.pack("!BBQ", opcode, 127, size)


def connection_of(scope: Any) -> LinkProtocol:
    """The connection of a WebSocket scope; the broker runs on no other server."""
    connection: LinkProtocol = scope["extensions"][EXTENSION]
    return connection
