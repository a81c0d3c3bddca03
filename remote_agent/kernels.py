"""The kernels of this agent: bound to processes and GPUs at the broker's word, and let go of without it when they must.

One lock per kernel puts what happens to it in order; different kernels never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ..wire import tracing
from ..wire.control import (
    LIMIT_GRACE_MS,
    Activity,
    Bind,
    BindFailed,
    Bound,
    End,
    Ended,
    FromAgent,
    KernelReport,
    LeaseReport,
    NotIdle,
    ProcessEnded,
    Release,
    Released,
    Restart,
)
from ..wire.errors import PerijoveError
from ..wire.tracing import Span, Tracer
from .allowances import Allowances
from .bind_trace import BindTrace
from .boot_clock import Clock
from .errors import KernelStartFailed, ProcessGone
from .gpu_use import GpuUse
from .gpus.pool import NOTHING_HELD, GpuPool, Hold
from .metering import LeaseMeter, Phase
from .premises import Premises
from .process import BLANK_DEVICES, KernelProcess
from .spares import Spares
from .telemetry import Watched

_INTERRUPT_TIMEOUT_S = 2.0
_ACTIVITY_AFTER_S = 0.05  # a short cell's is told when it is over: telling the broker must not slow its messages down
log = structlog.get_logger("perijove.agent")


@dataclass(slots=True)
class Lease:
    meter: LeaseMeter
    hold: Hold


@dataclass(slots=True)
class Kernel:
    kernel_id: str
    user: str
    process: KernelProcess | None = None
    lease: Lease | None = None
    use: GpuUse = field(default_factory=GpuUse)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    activity_due: bool = False  # the broker is about to be told that something ran
    trace: BindTrace = field(default_factory=lambda: BindTrace(tracing.NOT_TRACED))


class Kernels:
    """``say`` sends to the broker if it is there; ``say_surely`` keeps the message until it is."""

    def __init__(
        self,
        premises: Premises,
        gpus: GpuPool,
        spares: Spares,
        clock: Clock,
        say: Callable[[FromAgent], None],
        say_surely: Callable[[FromAgent], None],
    ) -> None:
        self._premises = premises
        self._gpus = gpus
        self._spares = spares
        self._clock = clock
        self._say = say
        self._say_surely = say_surely
        self._kernels: dict[str, Kernel] = {}
        self.tracer: Tracer | None = None  # where an endpoint for traces is configured
        self.allowances = Allowances()
        self.new_allowance = asyncio.Event()

    # reports ----------------------------------------------------------------------------------------------------

    def reports(self) -> list[KernelReport]:
        """All that runs, for a Hello."""
        now_ns = self._clock()
        return [
            KernelReport(
                kernel_id=kernel.kernel_id,
                incarnation=kernel.process.incarnation.hex(),
                user=kernel.user,
                gpus=kernel.lease.hold.uuids if kernel.lease else [],
                lease=kernel.lease.meter.report(now_ns) if kernel.lease else None,
                busy=kernel.process.busy,
                keepable=kernel.use.keepable,
            )
            for kernel in self._kernels.values()
            if kernel.process is not None and kernel.process.alive
        ]

    def lease_reports(self) -> list[LeaseReport]:
        now_ns = self._clock()
        return [kernel.lease.meter.report(now_ns) for kernel in self._kernels.values() if kernel.lease]

    def watched(self) -> list[Watched]:
        """The kernels that have a process, for telemetry."""
        return [
            Watched(kernel.kernel_id, kernel.process.pid, tuple(kernel.lease.hold.uuids if kernel.lease else ()))
            for kernel in self._kernels.values()
            if kernel.process is not None and kernel.process.alive
        ]

    def attached(self) -> list[Kernel]:
        """The kernels with a lease and a process."""
        return [kernel for kernel in self._kernels.values() if kernel.lease and kernel.process]

    # the broker's commands --------------------------------------------------------------------------------------

    async def bind(self, command: Bind) -> None:
        trace = tracing.start(
            self.tracer, "bind", command.traceparent, kernel=command.kernel_id, lease=command.lease_id
        )
        with trace as span:
            await self._bind(command, span)

    async def _bind(self, command: Bind, span: Span) -> None:
        received_ns = self._clock()
        kernel = self._kernels.setdefault(command.kernel_id, Kernel(command.kernel_id, command.user))
        async with kernel.lock:
            if self._is_bound(kernel, command):  # asked again, after a reconnection
                self._say_bound(kernel, command, resumed=command.incarnation is not None)
                return
            lease = Lease(LeaseMeter(command.lease_id, received_ns), NOTHING_HELD)
            lease.meter.close(received_ns)
            try:
                if kernel.lease is not None:
                    self._close_lease(kernel)
                # The process first: nothing is held, and nothing billed, while a spare is still being started.
                how = "resumed" if command.incarnation else "spare" if self._spares.count else "new"
                with span.child("process", process=how):
                    process = await self._process_for(kernel, command.incarnation)
                with span.child("lock"):
                    hold = await self._gpus.hold(command.gpus)
                kernel.lease = lease = Lease(LeaseMeter(command.lease_id, self._clock()), hold)
                self.allowances.grant(command.lease_id, command.allowance_s, received_ns)
                self.limit({command.lease_id: command.limit_ms})
                self.new_allowance.set()
                directory = self._premises.working_directory(kernel.kernel_id)
                with span.child("process bind"):
                    await process.bind(hold.environment, directory, command.session, hold.gpus)
                if not process.alive:
                    raise ProcessGone("the kernel's process ended while it was being attached")
            except (PerijoveError, OSError, TimeoutError) as error:
                span.fail(tracing.code_of(error))
                await self._bind_failed(kernel, command, command.incarnation, lease, error)
                return
            kernel.trace = BindTrace(span)
            self._started(kernel, process)
            self._say_bound(kernel, command, resumed=command.incarnation is not None)

    async def restart(self, command: Restart) -> None:
        kernel = self._kernels.get(command.kernel_id)
        if kernel is None or kernel.lease is None:
            self._say(
                BindFailed(
                    request_id=command.request_id,
                    kernel_id=command.kernel_id,
                    lease_id=command.lease_id,
                    code=ProcessGone.code,
                    message="this agent does not hold that lease any more",
                    state_lost=True,
                    report=LeaseReport(lease_id=command.lease_id, starting_ms=0, busy_ms=0, idle_ms=0),
                )
            )
            return
        async with kernel.lock:
            lease = kernel.lease
            lease.meter.enter(Phase.STARTING, self._clock())
            try:
                await self._end_process(kernel)
                process = await self._process_for(kernel, None)
                directory = self._premises.working_directory(kernel.kernel_id)
                await process.bind(lease.hold.environment, directory, command.session, lease.hold.gpus)
            except (PerijoveError, OSError, TimeoutError) as error:
                await self._bind_failed(kernel, command, None, lease, error)
                return
            self._started(kernel, process)
            self._say_bound(kernel, command, resumed=False)

    async def release(self, command: Release) -> None:
        kernel = self._kernels.get(command.kernel_id)
        if kernel is None:
            nothing = LeaseReport(lease_id=command.lease_id, starting_ms=0, busy_ms=0, idle_ms=0)
            self._say(
                Released(
                    request_id=command.request_id,
                    kernel_id=command.kernel_id,
                    incarnation="",
                    kept=False,
                    why_lost="this agent does not hold that kernel",
                    report=nothing,
                )
            )
            return
        async with kernel.lock:
            process = kernel.process
            if command.only_if_idle and process is not None and (process.busy or kernel.activity_due):
                self._say(NotIdle(request_id=command.request_id, kernel_id=command.kernel_id))
                return
            await self._let_go(kernel, command.request_id, command.lease_id, keep=command.keep)

    async def end(self, command: End) -> None:
        kernel = self._kernels.get(command.kernel_id)
        report = None
        if kernel is not None:
            async with kernel.lock:
                await self._end_process(kernel)
                report = self._close_lease(kernel)
                self._kernels.pop(command.kernel_id, None)
            await asyncio.to_thread(self._premises.remove_working_directory, command.kernel_id)
        self._say_surely(Ended(request_id=command.request_id, kernel_id=command.kernel_id, report=report))

    async def keep_only(self, kernel_ids: set[str]) -> None:
        """After a Welcome: end every kernel that the broker does not want to go on."""
        for kernel in [kernel for kernel in self._kernels.values() if kernel.kernel_id not in kernel_ids]:
            async with kernel.lock:
                await self._end_process(kernel)
                self._close_lease(kernel)
                self._kernels.pop(kernel.kernel_id, None)

    def limit(self, limits_ms: dict[str, int | None]) -> None:
        """Let these leases run for so long altogether (None: without a limit)."""
        now_ns = self._clock()
        for kernel in self._kernels.values():
            if kernel.lease is not None and kernel.lease.meter.lease_id in limits_ms:
                meter = kernel.lease.meter
                if limits_ms[meter.lease_id] != meter.limit_ms:
                    meter.limit(limits_ms[meter.lease_id], now_ns)
                    self.allowances.limit(meter.lease_id, meter.ends_ns)
        self.new_allowance.set()

    # without the broker's word ----------------------------------------------------------------------------------

    async def enforce(self, lease_ids: set[str]) -> None:
        """These leases may not go on: suspend their kernels, or end those that run a cell."""
        for kernel in list(self._kernels.values()):
            if kernel.lease is None or kernel.lease.meter.lease_id not in lease_ids:
                continue
            async with kernel.lock:
                if kernel.lease is not None and kernel.lease.meter.lease_id in lease_ids:
                    idle = kernel.process is not None and not kernel.process.busy
                    await self._let_go(kernel, "", kernel.lease.meter.lease_id, keep=idle, reason="allowance")

    async def end_at_limit(self, lease_id: str) -> None:
        """A lease has run for as long as its kernel's budget pays: stop what runs, and give the GPUs back."""
        for kernel in list(self._kernels.values()):
            if kernel.lease is not None and kernel.lease.meter.lease_id == lease_id:
                break
        else:
            return
        if kernel.process is not None:
            kernel.process.announce_stop("budget")
        async with kernel.lock:
            meter = kernel.lease.meter if kernel.lease is not None else None
            if meter is None or meter.lease_id != lease_id or meter.ends_ns is None or meter.ends_ns > self._clock():
                return  # it is over, or the budget was raised in between
            await self._let_go(kernel, "", lease_id, keep=True, reason="budget")

    async def process_ended(self, process: KernelProcess) -> None:
        """A kernel's process ended and nobody asked it to."""
        for kernel in self._kernels.values():
            if kernel.process is process:
                break
        else:
            return
        reason, message = process.ended.result()
        kernel.process = None  # at once, so that no command waits for it
        report = self._close_lease(kernel)
        self._say_surely(
            ProcessEnded(
                kernel_id=kernel.kernel_id,
                incarnation=process.incarnation.hex(),
                reason=reason,
                message=message,
                report=report,
            )
        )
        if not kernel.lock.locked():
            self._kernels.pop(kernel.kernel_id, None)

    async def end_all(self, why: str) -> None:
        """The agent stops: end every kernel, and say what its lease came to."""
        await asyncio.gather(*(self._stop(kernel, why) for kernel in list(self._kernels.values())))
        self._kernels.clear()

    async def _stop(self, kernel: Kernel, why: str) -> None:
        process = kernel.process
        await self._end_process(kernel)
        report = self._close_lease(kernel)
        if report is None:
            return
        self._say_surely(
            Released(
                request_id="",
                kernel_id=kernel.kernel_id,
                incarnation="" if process is None else process.incarnation.hex(),
                kept=False,
                why_lost=why,
                report=report,
            )
        )

    # parts ------------------------------------------------------------------------------------------------------

    async def _process_for(self, kernel: Kernel, incarnation: str | None) -> KernelProcess:
        if incarnation is None:
            await self._end_process(kernel)  # the broker starts afresh; what was there is not wanted
            kernel.process = await self._spares.take()
            kernel.use = GpuUse()
            return kernel.process
        process = kernel.process
        if process is None or not process.alive or process.incarnation.hex() != incarnation:
            raise ProcessGone("the kernel's process has ended; its variables are gone")
        return process

    def _is_bound(self, kernel: Kernel, command: Bind) -> bool:
        lease, process = kernel.lease, kernel.process
        return lease is not None and process is not None and process.alive and lease.meter.lease_id == command.lease_id

    def _say_bound(self, kernel: Kernel, command: Bind | Restart, *, resumed: bool) -> None:
        if kernel.process is None or kernel.lease is None:
            return  # it ended this very moment, and that was said
        self._say(
            Bound(
                request_id=command.request_id,
                kernel_id=kernel.kernel_id,
                lease_id=command.lease_id,
                incarnation=kernel.process.incarnation.hex(),
                resumed=resumed,
                report=kernel.lease.meter.report(self._clock()),
            )
        )

    def _started(self, kernel: Kernel, process: KernelProcess) -> None:
        process.on_activity = lambda: self._activity_changed(kernel, process)
        process.streams.accept()
        if kernel.lease is not None:
            kernel.lease.meter.enter(Phase.BUSY if process.busy else Phase.IDLE, self._clock())

    def _activity_changed(self, kernel: Kernel, process: KernelProcess) -> None:
        if kernel.process is not process:
            return
        kernel.trace.activity(busy=process.busy)
        if kernel.lease is not None:
            kernel.lease.meter.enter(Phase.BUSY if process.busy else Phase.IDLE, self._clock())
        if not kernel.activity_due:
            kernel.activity_due = True
            asyncio.get_running_loop().call_later(_ACTIVITY_AFTER_S, self._activity_due, kernel)

    def _activity_due(self, kernel: Kernel) -> None:
        """Something ran; if it is over already, the broker still has to know that it did."""
        kernel.activity_due = False
        if kernel.process is not None and kernel.lease is not None:
            if not kernel.process.busy:
                self.say_activity(kernel, busy=True)
            self.say_activity(kernel)

    def say_activity(self, kernel: Kernel, *, busy: bool | None = None) -> None:
        if kernel.process is not None:
            self._say(
                Activity(
                    kernel_id=kernel.kernel_id,
                    incarnation=kernel.process.incarnation.hex(),
                    busy=kernel.process.busy if busy is None else busy,
                    gpu_quiet=kernel.use.quiet,
                    keepable=kernel.use.keepable,
                )
            )

    async def _bind_failed(
        self, kernel: Kernel, command: Bind | Restart, incarnation: str | None, lease: Lease, error: Exception
    ) -> None:
        message = str(error) or "the kernel's process did not answer in time"
        log.warning("bind failed", kernel=kernel.kernel_id, error=message)
        if incarnation is None or isinstance(error, KernelStartFailed | TimeoutError):
            await self._end_process(kernel)
        if kernel.lease is not None and kernel.lease.meter is lease.meter:
            self._close_lease(kernel)
        report = lease.meter.close(self._clock())
        if kernel.process is None:
            self._kernels.pop(kernel.kernel_id, None)
        self._say(
            BindFailed(
                request_id=command.request_id,
                kernel_id=command.kernel_id,
                lease_id=command.lease_id,
                code=error.code if isinstance(error, PerijoveError) else KernelStartFailed.code,
                message=message,
                state_lost=incarnation is not None and kernel.process is None,
                report=report,
            )
        )

    async def _let_go(self, kernel: Kernel, request_id: str, lease_id: str, *, keep: bool, reason: str = "") -> None:
        """Give the GPUs back, with the process kept if it can be; the tiers of DESIGN.md §3."""
        process = kernel.process
        incarnation = "" if process is None else process.incarnation.hex()
        stop_within_s = LIMIT_GRACE_MS / 1000 if reason == "budget" else _INTERRUPT_TIMEOUT_S
        if process is None:
            why_lost = "the kernel's process had ended"
        else:
            why_lost = await self._suspend(kernel, process, keep, stop_within_s)
        if why_lost and reason == "budget":
            why_lost = f"its budget was used up, and {why_lost}"
        if why_lost:
            await self._end_process(kernel)
        report = self._close_lease(kernel)
        if kernel.process is None:
            self._kernels.pop(kernel.kernel_id, None)
        released = Released(
            request_id=request_id,
            kernel_id=kernel.kernel_id,
            incarnation=incarnation,
            kept=not why_lost,
            why_lost=why_lost,
            reason=reason,
            report=report or LeaseReport(lease_id=lease_id, starting_ms=0, busy_ms=0, idle_ms=0),
        )
        self._say_surely(released)

    async def _suspend(self, kernel: Kernel, process: KernelProcess, keep: bool, stop_within_s: float) -> str:
        """Take the devices away and let the process live; or the reason why it cannot, for people."""
        if not keep:
            return "the kernel was released with its process"
        if process.busy:
            process.interrupt()
            if not await process.idle_within(stop_within_s):
                return "a cell was running and did not stop"
        process.streams.stop_accepting()
        await kernel.use.look(process.mark)
        if not kernel.use.keepable:
            return "the kernel was using the GPU"
        try:
            await process.bind({**BLANK_DEVICES, "PERIJOVE_SIMULATED_GPU": None})
        except (KernelStartFailed, OSError):  # a TimeoutError is one
            return "the kernel did not answer"
        return ""

    async def _end_process(self, kernel: Kernel) -> None:
        process, kernel.process = kernel.process, None
        if process is not None:
            await process.end()

    def _close_lease(self, kernel: Kernel) -> LeaseReport | None:
        lease, kernel.lease = kernel.lease, None
        kernel.trace.over()
        if lease is None:
            return None
        self._gpus.give_back(lease.hold)
        self.allowances.forget(lease.meter.lease_id)
        return lease.meter.close(self._clock())
