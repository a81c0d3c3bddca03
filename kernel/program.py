"""A kernel's program, from listening sockets to its end: what is slow to import is imported while they listen."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
import uuid
from typing import TYPE_CHECKING

from ..client.address import data_directory
from ..wire.front.front import Front, FrontSettings
from ..wire.front.messages import Writer
from . import hand_over
from .bridge import Bridge
from .life import Life, Parent
from .output import Output
from .settings import Arguments, ConnectionInfo
from .sockets import Sockets

if TYPE_CHECKING:
    from .remote import Remote

log = logging.getLogger(__name__)

CONNECT_EARLY_AFTER_S = 0.3  # when a front-end has had its first answers
LET_GO_WITHIN_S = 2.0


def run(sockets: Sockets, arguments: Arguments, connection: ConnectionInfo, parent: Parent) -> None:
    """Returns when the kernel has ended. The loop stays open: a thread that starts a broker is not waited for."""
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_run(sockets, arguments, connection, parent))


async def _run(sockets: Sockets, arguments: Arguments, connection: ConnectionInfo, parent: Parent) -> None:
    loop = asyncio.get_running_loop()
    life = Life(loop)
    life.watch_signals()
    left = _left_for(connection)
    session = left.session if left is not None else uuid.uuid4().hex
    front = Front(FrontSettings(session, arguments.gpu_spec), _new_id)
    output = Output(sockets, Writer(session, _new_id), loop)

    async def open_remote(bridge: Bridge) -> Remote:
        module = await asyncio.to_thread(importlib.import_module, ".remote", __package__)
        remote: Remote = module.Remote(arguments.gpu_spec, session, bridge, left)
        return remote

    def shut_down(restart: bool) -> None:
        life.end(restart=restart, why="a front-end restarts it" if restart else "a front-end shuts it down")

    bridge = Bridge(front, output, sockets.send, open_remote, shut_down)
    sockets.listen(loop, bridge.received)
    life.watch_parent(parent.is_gone)
    loop.call_later(0.0 if left is not None else CONNECT_EARLY_AFTER_S, bridge.connect_early)
    restart = await life.ended
    sockets.stop_listening()
    await _let_go(bridge, connection, restart=restart)
    output.close()
    sockets.close()


async def _let_go(bridge: Bridge, connection: ConnectionInfo, *, restart: bool) -> None:
    try:
        async with asyncio.timeout(LET_GO_WITHIN_S):
            left = await bridge.close(restart=restart)
        if left is not None:
            hand_over.leave(data_directory(), connection, left, time.time())
    except TimeoutError:
        log.warning("the broker could not be told within %.0f s that the kernel ended", LET_GO_WITHIN_S)
    except Exception:
        log.exception("the remote kernel could not be let go of")


def _left_for(connection: ConnectionInfo) -> hand_over.HandOver | None:
    with contextlib.suppress(OSError):
        return hand_over.take_up(data_directory(), connection, time.time())
    return None


def _new_id() -> str:
    return uuid.uuid4().hex


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: it halves what a message costs."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
