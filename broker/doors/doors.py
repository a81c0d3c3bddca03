"""All kernels that are hosted here, and the WebSockets that come for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import structlog

from ...wire.errors import KernelError
from ...wire.jupyter_frames import SUBPROTOCOL, MalformedFrame
from ..core.records import Kernel
from ..links.link import LinkClosed, Receive, Scope, Send
from ..websocket import connection_of
from .front_end import FrontEnd
from .hosted import HostedKernel

if TYPE_CHECKING:
    from ..broker import Broker

log = structlog.get_logger(__name__)

LARGEST_MESSAGE_BYTES = 256 << 20
MOST_FRONT_ENDS = 64  # at one kernel
LINGER_S = 5.0


class ElsewhereLinked(KernelError):
    """Another client is this kernel's front-end."""

    code = "elsewhere_linked"


class Doors:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._hosted: dict[str, HostedKernel] = {}

    # reading ------------------------------------------------------------------------------------------------------

    def front_ends(self) -> Iterator[FrontEnd]:
        for hosted in self._hosted.values():
            yield from hosted.front_ends.values()

    def connections(self, kernel_id: str) -> int:
        hosted = self._hosted.get(kernel_id)
        return 0 if hosted is None else len(hosted.front_ends)

    def execution_state(self, kernel_id: str) -> str | None:
        """``busy`` or ``idle`` as its front-ends see it; None for a kernel that is not hosted here."""
        hosted = self._hosted.get(kernel_id)
        return None if hosted is None else hosted.front.execution_state

    def holds_link(self, kernel_id: str) -> bool:
        """Whether the kernel's client is here."""
        hosted = self._hosted.get(kernel_id)
        return hosted is not None and hosted.is_linked

    # what is asked of kernels -------------------------------------------------------------------------------------

    def host(self, kernel: Kernel) -> HostedKernel:
        """The kernel's front, made when it is first asked for.

        Raises:
            ElsewhereLinked: when a notebook or a kernel of its own speaks with it.
        """
        hosted = self._hosted.get(kernel.id)
        if kernel.link_id is not None and (hosted is None or not hosted.is_linked):
            raise ElsewhereLinked(
                f"kernel {kernel.id} is used by another program (a notebook with %%gpu cells, or the GPU kernel of a "
                "local Jupyter); use it there, or start a kernel of your own"
            )
        if hosted is None:
            hosted = self._hosted[kernel.id] = HostedKernel(self._broker, kernel.id, kernel.user, str(kernel.spec))
        return hosted

    def interrupt(self, kernel: Kernel) -> None:
        self.host(kernel).interrupt()

    async def restart(self, kernel: Kernel) -> None:
        await self.host(kernel).restart()

    def ended(self, kernel_id: str) -> None:
        """The kernel was deleted: its front-ends hear of it."""
        hosted = self._hosted.get(kernel_id)
        if hosted is not None:
            hosted.end("the kernel was ended")

    def forget(self, kernel_id: str) -> None:
        self._hosted.pop(kernel_id, None)

    # WebSockets ---------------------------------------------------------------------------------------------------

    async def serve(self, kernel_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket for a kernel that is hosted, from its acceptance to its end. Whether it may come was looked at
        before."""
        hosted = self._hosted[kernel_id]
        speaks_v1 = SUBPROTOCOL in scope.get("subprotocols", ())
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if speaks_v1 else None})
        connection = connection_of(scope)
        connection.take_messages_of(LARGEST_MESSAGE_BYTES)
        session_id = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0][:200]
        front_end = FrontEnd(session_id or uuid.uuid4().hex, connection, receive, hosted.progress, speaks_v1=speaks_v1)
        if len(hosted.front_ends) >= MOST_FRONT_ENDS or hosted.ended:
            front_end.close_soon(f"this kernel has {MOST_FRONT_ENDS} connections, or has ended")
            await front_end.pump(send)
            return
        hosted.add(front_end)
        try:
            await _run(hosted, front_end, send)
        finally:
            hosted.remove(front_end)


async def _run(hosted: HostedKernel, front_end: FrontEnd, send: Send) -> None:
    async with asyncio.TaskGroup() as tasks:
        pump = tasks.create_task(front_end.pump(send))
        reader = tasks.create_task(_read(hosted, front_end))
        await asyncio.wait((pump, reader), return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            pump.cancel()
        elif not reader.done():
            await asyncio.wait((reader,), timeout=LINGER_S)
            reader.cancel()


async def _read(hosted: HostedKernel, front_end: FrontEnd) -> None:
    while True:
        try:
            hosted.received(front_end, await front_end.receive())
        except LinkClosed:
            return
        except MalformedFrame as error:
            log.warning("front_end.malformed", kernel=hosted.kernel_id, error=str(error))
