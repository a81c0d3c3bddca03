"""The kernel's other end: the kernel at the broker that stands behind this one, made when it is first needed.

Opening a notebook costs nothing, so an embedded broker is not started for it. One that runs, or is configured, is
dialled early, so that the first cell does not have to. What goes wrong on the way is told to whoever asks for a GPU;
the next one who asks looks for the broker afresh.

Imported late: HTTP, WebSockets and pydantic take longer than all else a kernel does before its first reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from .. import __version__
from ..client.address import BrokerAddress
from ..client.channel import KernelChannel
from ..client.find_broker import find_broker, find_running_broker
from ..client.http import BrokerClient
from ..client.notebook_name import notebook_name
from ..client.wishes import wished_idle_timeout_s, wished_kernel_name
from ..wire.errors import BrokerUnreachable, ConnectionLost, InvalidGpuSpec, KernelNotFound, PerijoveError
from ..wire.front.front import interrupting
from ..wire.gpu_spec import parse_gpu_spec
from ..wire.jupyter_frames import JupyterFrame, encode_frame
from ..wire.kernelspec_names import kernelspec_name
from ..wire.models import KernelView
from ..wire.panel.panel import KEEP_S, Wish
from ..wire.usage import KernelUsage
from .hand_over import HandOver

log = logging.getLogger(__name__)

T = TypeVar("T")

ACK_AT_BYTES = 256 * 1024
FIRST_PATIENCE_S = 2.0  # with a link that is down when a GPU is asked for
PATIENCE_S = 20.0  # with one that breaks while it is waited for


class Follower(Protocol):
    """Who hears of the remote kernel, on the loop."""

    def frame_received(self, frame: JupyterFrame, taken: Callable[[], None]) -> None:
        """``taken`` is to be called when the message is with the front-ends, in order."""

    def view_changed(self, view: KernelView) -> None: ...
    def usage_received(self, usage: KernelUsage) -> None: ...
    def undeliverable(self) -> None: ...
    def messages_lost(self, count: int) -> None: ...
    def connection_changed(self, connected: bool) -> None: ...
    def lost(self, error: PerijoveError) -> None: ...


class Remote:
    def __init__(
        self,
        gpu_spec: str,
        session: str,
        follower: Follower,
        left: HandOver | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.gpu_spec = gpu_spec  # for a kernel that has yet to be made
        self._session = session
        self._follower = follower
        self._environ = environ
        self._left = left
        self._channel: KernelChannel | None = None
        self._running: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[KernelChannel | None] | None = None
        self._kernel_id = ""
        self._kernel_ids: list[str] = []
        self._connected = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._asked_for = 0  # by how many, right now
        self._generation = 0  # of processes: what one said is not acknowledged to the next
        self._untaken_bytes = 0
        self._watched = False  # somebody looks at the panel

    # the kernel at the broker -------------------------------------------------------------------------------------

    async def connect_early(self) -> None:
        """Make the kernel, if that takes no more than a broker that runs already."""
        with contextlib.suppress(PerijoveError, OSError):
            await self._opened(start=False)

    async def opened(self) -> KernelChannel:
        """The channel of the kernel at the broker, which is made if there is none; an embedded broker is started.

        Raises:
            PerijoveError: why there is none.
        """
        channel = await self._opened(start=True)
        assert channel is not None
        return channel

    async def _opened(self, *, start: bool) -> KernelChannel | None:
        """One at a time; whoever comes second waits for the first, and has its error. Cancelling leaves it running."""
        while self._channel is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open(start=start))
                self._opening.add_done_callback(self._opening_done)
            channel = await asyncio.shield(self._opening)
            if channel is not None or not start:
                return channel
        return self._channel

    def _opening_done(self, opening: asyncio.Task[KernelChannel | None]) -> None:
        self._opening = None
        if not opening.cancelled() and (error := opening.exception()) is not None:
            log.debug("no kernel at a broker: %s", error)

    async def _open(self, *, start: bool) -> KernelChannel | None:
        address = await (find_broker if start else find_running_broker)(self._environ)
        if address is None:
            return None
        left, self._left = self._left, None
        if left is not None:
            self._kernel_id = left.kernel_id
        else:
            async with BrokerClient(address) as broker:
                self._kernel_id = await broker.create_kernel(
                    self._kernel_name(),
                    self.gpu_spec,
                    idle_timeout=wished_idle_timeout_s(self._environ),
                    notebook=notebook_name(environ=self._environ),
                )
        self._kernel_ids.append(self._kernel_id)
        found = [address]

        async def find_again() -> BrokerAddress:
            return found.pop() if found else await self._find_again()

        channel = KernelChannel(find_again, self._kernel_id, self, __version__, session=self._session)
        self._channel = channel
        channel.watch(self._watched)
        self._running = asyncio.create_task(channel.run())
        return channel

    async def _find_again(self) -> BrokerAddress:
        """After the link broke: an embedded broker is started again only for what is worth it."""
        if self._asked_for or self._has_process:
            return await find_broker(self._environ)
        address = await find_running_broker(self._environ)
        if address is None:
            raise BrokerUnreachable("the embedded broker does not run; the next cell starts it")
        return address

    def _kernel_name(self) -> str:
        try:
            name = kernelspec_name(parse_gpu_spec(self.gpu_spec))
        except InvalidGpuSpec:  # the broker says what is wrong with it
            name = "perijove"
        return wished_kernel_name(name, self._environ)

    @property
    def _has_process(self) -> bool:
        view = self._channel.view if self._channel is not None else None
        return view is not None and view.incarnation is not None

    # asking for a GPU ---------------------------------------------------------------------------------------------

    async def attach(self, gpu: str | None = None) -> KernelView:
        """Have a GPU; of another spec from now on, if one is given. Cancelling leaves the queue.

        Raises:
            PerijoveError: why there is none.
        """
        self._asked_for += 1
        try:
            channel = await self.opened()
            if channel.view is not None:
                self._dial_now()
            try:
                view = await self._answered(channel.attach(gpu))
            except KernelNotFound:  # it went with a broker that is gone, or was ended elsewhere: a new one
                if self._channel is channel:
                    self._forget()
                view = await self._answered((await self.opened()).attach(gpu))
            self.gpu_spec = view.gpu_spec
            return view
        finally:
            self._asked_for -= 1

    async def _answered(self, request: Coroutine[Any, Any, T]) -> T:
        """What the broker answers to a request, or why it cannot be asked: the link itself tries for ever."""
        asking = asyncio.create_task(request)
        watching = asyncio.create_task(self._watch_link())
        try:
            await asyncio.wait({asking, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                watching.result()  # raises
            return asking.result()
        finally:
            for task in (asking, watching):
                task.cancel()
            await asyncio.gather(asking, watching, return_exceptions=True)

    async def _watch_link(self) -> None:
        """Raises what is wrong with the broker once the link has been down for too long. Never returns."""
        patience_s = FIRST_PATIENCE_S
        while True:
            if self._connected.is_set():
                patience_s = PATIENCE_S
                await self._disconnected.wait()
            try:
                async with asyncio.timeout(patience_s):
                    await self._connected.wait()
            except TimeoutError:
                await self._look_at_broker()

    async def _look_at_broker(self) -> None:
        """Raises BrokerError when it does not answer, or not to us."""
        async with BrokerClient(await find_broker(self._environ)) as broker:
            await broker.status()
        self._dial_now()

    def _dial_now(self) -> None:
        """Do not wait for the next attempt when the link is down: somebody is waiting."""
        if self._channel is not None and self._running is not None and not self._connected.is_set():
            self._running.cancel()
            self._running = asyncio.create_task(self._channel.run())

    # what %gpu lines want -----------------------------------------------------------------------------------------

    @property
    def view(self) -> KernelView | None:
        return self._channel.view if self._channel is not None else None

    @property
    def view_age_s(self) -> float:
        """How long ago the broker spoke of the kernel."""
        return time.monotonic() - self._channel.viewed_at if self._channel is not None else 0.0

    @property
    def kernel_ids(self) -> list[str]:
        """All that this kernel has been at brokers, for its bill."""
        return list(self._kernel_ids)

    async def broker(self) -> BrokerClient:
        """To be closed by whoever asks; an embedded broker is started."""
        return BrokerClient(await find_broker(self._environ))

    async def attach_in_s(self, gpu: str | None) -> float | None:
        """Attach; how long that took, or None when there was nothing to do."""
        before = self._lease_id
        started = time.monotonic()
        await self.attach(gpu)
        return None if before is not None and self._lease_id == before else time.monotonic() - started

    @property
    def _lease_id(self) -> str | None:
        view = self.view
        return view.lease.id if view is not None and view.lease is not None else None

    async def release(self) -> None:
        """Give the GPU back, if there is one."""
        if self._channel is not None and self._has_process:
            await self._answered(self._channel.release())

    async def restart(self, gpu: str | None) -> None:
        """A new process, of another spec if one is given; where there is none, only the spec changes."""
        if self._channel is not None and self._channel.view is not None:
            await self._answered(self._channel.restart(gpu))
        self.gpu_spec = gpu or self.gpu_spec

    async def keep(self, seconds: int) -> None:
        """Hold the GPU so much longer than idleness would."""
        await self._answered((await self.opened()).keep(seconds))

    async def watch(self) -> None:
        """Be told from now on what the kernel and its GPUs do."""
        channel = await self.opened()
        self._watched = True
        channel.watch(True)

    async def fulfil(self, wish: Wish) -> None:
        """Do what a button of the panel asks for; an interrupt is the front's own."""
        match wish:
            case Wish.RELEASE:
                await self._answered((await self.opened()).release())
            case Wish.KEEP:
                await self.keep(KEEP_S)
            case Wish.ATTACH:
                await self.attach()

    async def set_budget(self, nanodollars: int | None) -> None:
        await self._answered((await self.opened()).set_budget(nanodollars))

    # messages -----------------------------------------------------------------------------------------------------

    def send(self, frame: JupyterFrame, *, control: bool) -> None:
        self._send(frame, control=control)

    def interrupt(self, request: JupyterFrame) -> None:
        if self._channel is not None:
            self._send(interrupting(request, self._channel.last_shell_seq), control=True)

    def _send(self, frame: JupyterFrame, *, control: bool) -> None:
        """To a process that has just ended nothing is sent: its end is told elsewhere."""
        if self._channel is not None:
            with contextlib.suppress(ConnectionLost):
                self._channel.send(encode_frame(frame.channel, frame.parts), control=control)

    def _taken(self, generation: int, seq: int, size_bytes: int) -> None:
        if self._channel is None or generation != self._generation:
            return
        self._channel.note_taken(seq)
        self._untaken_bytes += size_bytes
        if self._untaken_bytes >= ACK_AT_BYTES:
            self._untaken_bytes = 0
            self._channel.acknowledge()

    # what the channel tells ---------------------------------------------------------------------------------------

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None:
        self._follower.frame_received(frame, functools.partial(self._taken, self._generation, seq, size_bytes))

    def state_changed(self, view: KernelView) -> None:
        self._follower.view_changed(view)

    def usage_received(self, usage: KernelUsage) -> None:
        self._follower.usage_received(usage)

    def incarnation_changed(self, view: KernelView) -> None:
        self._generation += 1

    def undeliverable(self) -> None:
        self._follower.undeliverable()

    def messages_lost(self, count: int) -> None:
        self._follower.messages_lost(count)

    def connection_changed(self, connected: bool) -> None:
        (self._connected if connected else self._disconnected).set()
        (self._disconnected if connected else self._connected).clear()
        self._follower.connection_changed(connected)

    def failed(self, error: PerijoveError) -> None:
        self._forget()
        self._follower.lost(error)

    def _forget(self) -> None:
        self._channel = None
        self._generation += 1
        self.connection_changed(False)
        if self._running is not None and self._running is not asyncio.current_task():
            self._running.cancel()

    # the end ------------------------------------------------------------------------------------------------------

    async def goodbye(self) -> None:
        """Free the GPU and end the kernel at the broker, as soon as it can be told."""
        channel = await self._there_is()
        if channel is None or self._running is None:
            return
        if self._has_process or channel.view is None:
            await self._connected.wait()
        if not self._connected.is_set():
            self._running.cancel()
        await channel.goodbye()
        await asyncio.wait({self._running})

    async def hand_over(self) -> HandOver | None:
        """Restart the process, on the GPU it has, and leave the kernel to whoever is started in this one's place."""
        channel = await self._there_is()
        if channel is None:
            return None
        if self._has_process:
            await channel.restart()
        return HandOver(self._kernel_id, self._session)

    async def _there_is(self) -> KernelChannel | None:
        if self._opening is not None:
            with contextlib.suppress(PerijoveError):
                await asyncio.shield(self._opening)
        return self._channel
