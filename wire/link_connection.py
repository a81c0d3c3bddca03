"""A WebSocket for links: messages are handed on as they arrive, and written at once while the peer reads.

``websockets`` hands each message to a task that waits for it and drains after each write; for a link that carries a
cell's few small messages those switches cost more than all else. Here a message is a call in both directions, and a
task is needed only for a peer that does not keep up. How much may be under way, the links themselves bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Event, State

Heard = Callable[["str | bytes | bytearray"], None]


class LinkConnection(ClientConnection):
    """To be given to ``connect`` as ``create_connection``; :meth:`hear` takes the place of ``recv``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._heard: Heard | None = None
        self._early: list[str | bytes | bytearray] = []
        self._pieces: list[bytes] = []
        self._is_text = False
        self._failure: Exception | None = None

    def hear(self, heard: Heard) -> None:
        """Call ``heard`` with each message, also those that came before; what it raises ends the connection."""
        self._heard = heard
        early, self._early = self._early, []
        for message in early:
            self._hand_on(message)

    async def until_closed(self) -> None:
        """Wait for the end.

        Raises:
            Exception: what ``heard`` raised, if that was the end.
        """
        await self.wait_closed()
        if self._failure is not None:
            raise self._failure

    @property
    def takes_more(self) -> bool:
        """Whether a message can be sent without waiting."""
        return not self.paused and self.protocol.state is State.OPEN and self.send_in_progress is None

    def send_at_once(self, message: str | bytes) -> bool:
        """Send a message; False, and nothing sent, when it would have to wait or the connection is closed."""
        if not self.takes_more:
            return False
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        self.send_data()
        return True

    def process_event(self, event: Event) -> None:
        """From the base class: something has arrived."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)  # the handshake's answer, or one to a ping
            return
        if event.opcode is not Opcode.CONT:
            self._is_text = event.opcode is Opcode.TEXT
        data: Any = event.data
        if not event.fin or self._pieces:
            self._pieces.append(bytes(data))
            if not event.fin:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._hand_on(bytes(data).decode() if self._is_text else data)

    def _hand_on(self, message: str | bytes | bytearray) -> None:
        if self._heard is None:
            self._early.append(message)
        elif self._failure is None:
            try:
                self._heard(message)
            except Exception as error:  # noqa: BLE001 - it is raised where the connection is waited for
                self._failure = error
                self.transport.abort()
