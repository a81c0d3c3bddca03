"""The agent: what runs on a GPU machine. Puts the parts together, runs them on one event loop, and cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import resource
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import structlog
import zmq

from .. import __version__
from ..wire import tracing
from ..wire.control import Hello, Inventory
from ..wire.versions import PROTOCOL
from .boot_clock import boot_ns
from .dialing import ControlConnection, DataConnection, dialer
from .gpus.pool import Driver, GpuPool
from .gpus.simulated import simulated_gpus
from .guarded import Guard
from .kernels import Kernels
from .premises import Premises, move_in
from .process import KernelProcess, Workshop
from .settings import AgentSettings
from .spares import Spares
from .strays import end_marked
from .telemetry import EVERY_S, Telemetry
from .uplink import Uplink

_LOOK_EVERY_S = 2.0
_LONGEST_WATCH_S = 1.0
_GOODBYE_TIMEOUT_S = 1.0
_OPEN_FILES = 65_536
_DRAIN = signal.SIGUSR1
log = structlog.get_logger("perijove.agent")


def run_agent(settings: AgentSettings) -> None:
    """Run an agent in this process until SIGTERM or SIGINT, on uvloop where there is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a kernel takes about twenty; not all systems take "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _OPEN_FILES)), hard))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # not everywhere
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def run(settings: AgentSettings) -> None:
    """Be an agent until SIGTERM or SIGINT; must run in the main thread. Nothing is left behind.

    SIGUSR1 asks the broker for no new leases, so that a stop can wait for what runs; a second one takes that back.

    Raises:
        AgentRunning: when another agent works in the data directory (exit status 75).
        AgentRefused: when the broker will not have this agent.
        BrokerStayedAway: after ``exit_without_broker_s`` without a broker.
    """
    premises = await asyncio.to_thread(move_in, settings.data_dir)
    guard = Guard(premises)
    try:
        guard.start()
        await _Agent(settings, premises, guard).run()
    finally:
        await asyncio.to_thread(end_marked, premises.mark)
        guard.stop()
        premises.vacate()


class _Finished(Exception):
    """Ends the task group: the agent is done, or ``reason`` is why it cannot go on."""

    def __init__(self, reason: BaseException | None) -> None:
        self.reason = reason


class _Agent:
    def __init__(self, settings: AgentSettings, premises: Premises, guard: Guard) -> None:
        self._settings = settings
        self._premises = premises
        self._guard = guard
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = 10_000
        self._tasks = asyncio.TaskGroup()
        self._draining = False
        data_links = dialer(settings, DataConnection)
        self._loop = asyncio.get_running_loop()
        self._look_now = asyncio.Event()
        driver = _driver(self._gpu_in_doubt)
        self._gpus = GpuPool(
            simulated_gpus(settings.simulate, premises.agent_id), driver, guard, self._inventory_changed
        )
        workshop = Workshop(premises, self._context, data_links, settings.spool_limit_bytes)
        self._spares = Spares(workshop, settings.spares, self._look_after, self._inventory_changed)
        self._uplink = Uplink(
            dialer(settings, ControlConnection), boot_ns, self._hello, self._start, settings.exit_without_broker_s
        )
        self._kernels = Kernels(premises, self._gpus, self._spares, boot_ns, self._uplink.say, self._uplink.say_surely)

    async def run(self) -> None:
        self._kernels.tracer = await tracing.tracer_of("agent")
        stop = asyncio.Event()
        with _signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set, _DRAIN: self._turn_draining}):
            try:
                async with self._tasks:
                    await self._gpus.refresh()
                    for part in (
                        self._guard.run(),
                        self._spares.run(),
                        self._watch_allowances(),
                        self._look_at_gpus(),
                        self._show_usage(),
                    ):
                        self._tasks.create_task(part)
                    reason = await self._until_done(stop)
                    raise _Finished(reason)  # noqa: TRY301 - ends the group's tasks
            except* _Finished as finished:
                reason = finished.exceptions[0].reason  # type: ignore[union-attr]
                if reason is not None:
                    raise reason from None
            finally:
                await asyncio.shield(self._gpus.close())
                self._context.destroy(linger=0)

    async def _until_done(self, stop: asyncio.Event) -> BaseException | None:
        """Serve until told to stop, or until the broker will not have it; returns the error then."""
        link = asyncio.create_task(self._uplink.run(self._kernels))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({link, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if link.done():
                return link.exception()
            log.info("stopping")
            await self._kernels.end_all("the agent was stopped")
            await self._uplink.drained(_GOODBYE_TIMEOUT_S)
            return None
        finally:
            link.cancel()
            stopped.cancel()
            await asyncio.gather(link, stopped, return_exceptions=True)

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            version=__version__,
            python=platform.python_version(),
            agent_id=self._premises.agent_id,
            name=self._settings.name,
            gpus=self._gpus.view(),
            kernels=self._kernels.reports(),
            spares=self._spares.count,
            draining=self._draining,
        )

    def _inventory_changed(self) -> None:
        inventory = Inventory(gpus=self._gpus.view(), spares=self._spares.count, draining=self._draining)
        self._uplink.say(inventory)

    def _turn_draining(self) -> None:
        """Ask the broker for no new leases before a stop, or take that back; what runs is not touched."""
        self._draining = not self._draining
        log.info("draining" if self._draining else "takes new leases again")
        self._inventory_changed()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(_logged(work))

    def _look_after(self, process: KernelProcess) -> None:
        self._start(self._attend(process))

    async def _attend(self, process: KernelProcess) -> None:
        """A process's whole life: its data link, its end, and what is to be done then."""
        link = asyncio.create_task(process.link.run())
        try:
            await process.watch()
        finally:
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)
            try:
                await asyncio.shield(asyncio.to_thread(end_marked, process.mark))  # what it started and left behind
            finally:
                process.clear_away()
        self._spares.discard(process)
        await self._kernels.process_ended(process)

    async def _watch_allowances(self) -> None:
        kernels = self._kernels
        while True:
            used_up = kernels.allowances.used_up(boot_ns())
            if used_up:
                log.warning("allowance used up", leases=used_up)
                await kernels.enforce(set(used_up))
            for lease_id in kernels.allowances.take_ended(boot_ns()):
                log.info("limit reached", lease=lease_id)
                self._start(kernels.end_at_limit(lease_id))
            left_s = kernels.allowances.next_end_s(boot_ns())
            kernels.new_allowance.clear()
            with contextlib.suppress(TimeoutError):
                # Timers stand still while the machine sleeps and the boot clock does not: look at least this often.
                async with asyncio.timeout(_LONGEST_WATCH_S if left_s is None else min(left_s, _LONGEST_WATCH_S)):
                    await kernels.new_allowance.wait()

    async def _show_usage(self) -> None:
        """Once a second while a broker listens; what cannot be asked today is no reason to stop."""
        telemetry = Telemetry(self._gpus.driver)
        while True:
            if self._uplink.wants_usage:
                try:
                    self._uplink.show(await telemetry.look(self._gpus.view(), self._kernels.watched()))
                except Exception:
                    log.exception("usage could not be sampled")
            await asyncio.sleep(EVERY_S)

    def _gpu_in_doubt(self) -> None:
        """From the driver's thread."""
        self._loop.call_soon_threadsafe(self._look_now.set)

    async def _look_at_gpus(self) -> None:
        """Every few seconds, and when one is in doubt: the inventory, and what idle kernels do on their GPUs."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._look_now.wait()
            self._look_now.clear()
            await self._gpus.refresh()
            for kernel in self._kernels.attached():
                process = kernel.process
                if process is None or process.busy:
                    continue
                process.sample_memory_kills()
                lease = kernel.lease
                quiet = lease is None or await self._gpus.quiet(lease.hold)
                if await kernel.use.look(process.mark, quiet=quiet):
                    self._kernels.say_activity(kernel)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """One kernel's trouble must not end the others: an error nobody expected is logged."""
    try:
        await work
    except Exception:
        log.exception("unexpected error")


@contextlib.contextmanager
def _signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Have signals call these, where this is the main thread."""
    loop = asyncio.get_running_loop()
    numbers = list(handlers) if threading.current_thread() is threading.main_thread() else []
    for number in numbers:
        loop.add_signal_handler(number, handlers[number])
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _driver(in_doubt: Callable[[], None]) -> Driver | None:
    """Only where NVIDIA has drivers; there may still be none. ``in_doubt`` is called in a thread of it."""
    if sys.platform != "linux":
        return None
    from .gpus.nvidia import Nvidia  # its library warns on import elsewhere

    return Nvidia(in_doubt)
