"""An agent as the core sees it: GPUs, processes, and the money rules that it keeps by itself."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perijove.broker.core.events import (
    AgentConnected,
    AgentLinkClosed,
)
from perijove.wire import control
from perijove.wire.models import Gpu, GpuState
from perijove.wire.versions import PROTOCOL

if TYPE_CHECKING:
    from .world import World

GIB = 2**30


def make_gpus(agent_id: str, model: str, count: int, *, simulated: bool = False) -> list[Gpu]:
    return [
        Gpu(
            uuid=f"{agent_id}-{model}-{index}",
            index=index,
            model=model,
            name=model,
            memory_bytes=(16 if model == "T4" else 80) * GIB,
            simulated=simulated,
        )
        for index in range(count)
    ]


@dataclass
class Process:
    incarnation: str
    user: str
    lease_id: str = ""
    gpus: list[str] = field(default_factory=list)
    bound_at: int = 0
    busy: bool = False
    keepable: bool = True
    told_ms: int | None = None  # of the lease, in all
    limit_ms: int | None = None  # ... and as it is kept to

    def limit(self, limit_ms: int | None, now: int) -> None:
        """What has been counted already is not taken back."""
        self.told_ms = limit_ms
        if limit_ms is not None and limit_ms != self.limit_ms:
            limit_ms = max(limit_ms, min(now - self.bound_at, self.limit_ms if self.limit_ms is not None else now))
        self.limit_ms = limit_ms


@dataclass
class SimAgent:
    """An agent as docs/protocol.md describes it: it knows what it holds, and lets go when its allowance is used up."""

    world: World
    id: str
    gpus: list[Gpu]
    link_id: str | None = None
    inbox: deque[Any] = field(default_factory=deque)
    outbox: deque[Any] = field(default_factory=deque)
    lasting: deque[Any] = field(default_factory=deque)
    processes: dict[str, Process] = field(default_factory=dict)
    renewed_at: int = 0
    fails_next_bind: bool = False
    draining: bool = False  # it has asked for that itself

    # the link

    def connect(self) -> None:
        self.disconnect()
        self.link_id = self.world.new_id("agentlink")
        self.world.links.add(self.link_id)
        self.inbox.clear()
        self.outbox.clear()
        self.renewed_at = self.world.now.boot
        self.world.happen(AgentConnected(self.link_id, f"token-{self.id}", self.hello()))
        welcome = next(m for m in self.inbox if isinstance(m, control.Welcome))
        for kernel_id in [kernel_id for kernel_id in self.processes if kernel_id not in welcome.keep]:
            del self.processes[kernel_id]
        self.outbox.extend(self.lasting)
        self.lasting.clear()

    def disconnect(self) -> None:
        if self.link_id is None:
            return
        link_id, self.link_id = self.link_id, None
        self.world.links.discard(link_id)
        for message in self.outbox:
            if isinstance(message, control.Released | control.ProcessEnded | control.Ended):
                self.lasting.append(message)
        self.inbox.clear()
        self.outbox.clear()
        self.world.happen(AgentLinkClosed(self.id, link_id))

    def crash(self) -> None:
        """The agent's process is gone, and with it everything that ran there."""
        self.processes.clear()
        self.outbox.clear()
        self.draining = False
        self.disconnect()
        self.lasting.clear()

    def hello(self) -> control.Hello:
        return control.Hello(
            protocol=PROTOCOL,
            version="1",
            python="3.11.7",
            agent_id=self.id,
            name=self.id,
            gpus=self.inventory(),
            kernels=[
                control.KernelReport(
                    kernel_id=kernel_id,
                    incarnation=process.incarnation,
                    user=process.user,
                    gpus=process.gpus,
                    lease=self.report(process),
                    busy=process.busy,
                    keepable=process.keepable,
                )
                for kernel_id, process in self.processes.items()
            ],
            draining=self.draining,
        )

    def ask_for_drain(self, *, draining: bool) -> None:
        self.draining = draining
        self.say(control.Inventory(gpus=self.inventory(), draining=draining))

    def inventory(self) -> list[Gpu]:
        held = {uuid for process in self.processes.values() for uuid in process.gpus}
        return [gpu.model_copy(update={"state": GpuState.HELD}) if gpu.uuid in held else gpu for gpu in self.gpus]

    def say(self, message: Any) -> None:
        if self.link_id is not None:
            self.outbox.append(message)

    def say_surely(self, message: Any) -> None:
        (self.outbox if self.link_id is not None else self.lasting).append(message)

    # what it does

    def take_one(self) -> None:
        """Deal with one message of the broker."""
        message = self.inbox.popleft()
        match message:
            case control.Bind():
                self._bind(message)
            case control.Release():
                self._release(message)
            case control.Restart():
                self._restart(message)
            case control.End():
                process = self.processes.pop(message.kernel_id, None)
                report = self.report(process) if process else None
                self.say_surely(
                    control.Ended(request_id=message.request_id, kernel_id=message.kernel_id, report=report)
                )
            case control.Limit():
                limited = self.processes.get(message.kernel_id)
                if limited is not None and limited.lease_id == message.lease_id:
                    limited.limit(message.limit_ms, self.world.now.boot)
            case control.Renewed():
                self.renewed_at = self.world.now.boot
                for process in self.processes.values():
                    if process.lease_id in message.allowances_s:
                        process.limit(message.limits_ms.get(process.lease_id), self.world.now.boot)
                for kernel_id, process in list(self.processes.items()):
                    if process.lease_id and process.lease_id not in message.allowances_s:
                        self.let_go(kernel_id)

    def _bind(self, message: control.Bind) -> None:
        held = {uuid for kid, p in self.processes.items() if kid != message.kernel_id for uuid in p.gpus}
        assert not held & set(message.gpus), "the broker bound a GPU that another kernel holds"
        resuming = self.processes.get(message.kernel_id)
        gone = message.incarnation is not None and (resuming is None or resuming.incarnation != message.incarnation)
        if gone or self.fails_next_bind:
            self.fails_next_bind = False
            if not gone and resuming is not None and message.incarnation is None:
                del self.processes[message.kernel_id]
            self._fail(message, "attach_failed", "it did not work", state_lost=gone)
            return
        process = resuming if message.incarnation is not None else None
        if process is None:
            process = Process(self.world.new_incarnation(), message.user)
        process.lease_id, process.gpus, process.bound_at = message.lease_id, message.gpus, self.world.now.boot
        process.limit_ms = process.told_ms = message.limit_ms
        self.processes[message.kernel_id] = process
        self.say(self._bound(message, process, resumed=message.incarnation is not None))

    def _bound(self, message: control.Bind | control.Restart, process: Process, *, resumed: bool) -> control.Bound:
        report = self.report(process)
        assert report is not None
        return control.Bound(
            request_id=message.request_id,
            kernel_id=message.kernel_id,
            lease_id=message.lease_id,
            incarnation=process.incarnation,
            resumed=resumed,
            report=report,
        )

    def _release(self, message: control.Release) -> None:
        process = self.processes.get(message.kernel_id)
        if process is not None and process.busy and message.only_if_idle:
            self.say(control.NotIdle(request_id=message.request_id, kernel_id=message.kernel_id))
            return
        if process is None:
            self.say(self._released(message.request_id, message.kernel_id, "", _report(message.lease_id, 0), False))
            return
        self.let_go(message.kernel_id, message.request_id, message.lease_id)

    def let_go(self, kernel_id: str, request_id: str = "", lease_id: str = "", reason: str = "") -> None:
        process = self.processes[kernel_id]
        report = self.report(process) or _report(lease_id, 0)
        kept = process.keepable and not process.busy
        process.lease_id, process.gpus = "", []
        if not kept:
            del self.processes[kernel_id]
        self.say_surely(self._released(request_id, kernel_id, process.incarnation, report, kept, reason))

    def _released(
        self,
        request_id: str,
        kernel_id: str,
        incarnation: str,
        report: control.LeaseReport,
        kept: bool,
        reason: str = "",
    ) -> control.Released:
        return control.Released(
            request_id=request_id,
            kernel_id=kernel_id,
            incarnation=incarnation,
            kept=kept,
            why_lost="" if kept else "it was in use",
            reason=reason,
            report=report,
        )

    def _fail(self, message: control.Bind | control.Restart, code: str, text: str, *, state_lost: bool) -> None:
        self.say(
            control.BindFailed(
                request_id=message.request_id,
                kernel_id=message.kernel_id,
                lease_id=message.lease_id,
                code=code,
                message=text,
                state_lost=state_lost,
                report=_report(message.lease_id, 0),
            )
        )

    def _restart(self, message: control.Restart) -> None:
        process = self.processes.get(message.kernel_id)
        if process is None or process.lease_id != message.lease_id:
            self._fail(message, "kernel_died", "that lease is not held here", state_lost=True)
            return
        process.incarnation, process.busy = self.world.new_incarnation(), False
        self.say(self._bound(message, process, resumed=False))

    def process_dies(self, kernel_id: str) -> None:
        process = self.processes.pop(kernel_id)
        self.say_surely(
            control.ProcessEnded(
                kernel_id=kernel_id,
                incarnation=process.incarnation,
                reason="killed",
                message="The kernel was killed.",
                report=self.report(process),
            )
        )

    def turn(self, kernel_id: str, *, busy: bool) -> None:
        process = self.processes[kernel_id]
        process.busy = busy
        self.say(
            control.Activity(
                kernel_id=kernel_id,
                incarnation=process.incarnation,
                busy=busy,
                gpu_quiet=not busy,
                keepable=process.keepable,
            )
        )

    def renew(self) -> None:
        reports = [report for process in self.processes.values() if (report := self.report(process))]
        self.say(control.Renew(leases=reports))

    def enforce_allowance(self) -> None:
        """By its own clock, from when it last heard that it may go on."""
        if self.link_id is None and self.world.now.boot - self.renewed_at >= self.world.policy.allowance_ms:
            for kernel_id in [kernel_id for kernel_id, process in self.processes.items() if process.lease_id]:
                self.let_go(kernel_id)

    def enforce_limits(self) -> None:
        for kernel_id, process in list(self.processes.items()):
            ran_ms = self.world.now.boot - process.bound_at
            if process.lease_id and process.limit_ms is not None and ran_ms >= process.limit_ms:
                self.let_go(kernel_id, reason="budget")

    def report(self, process: Process) -> control.LeaseReport | None:
        """The meter stands still when the time to let go at the limit is over."""
        if not process.lease_id:
            return None
        ran_ms = self.world.now.boot - process.bound_at
        if process.limit_ms is not None:
            ran_ms = min(ran_ms, process.limit_ms + control.LIMIT_GRACE_MS)
        return _report(process.lease_id, ran_ms, process.told_ms)


def _report(lease_id: str, idle_ms: int, limit_ms: int | None = None) -> control.LeaseReport:
    return control.LeaseReport(lease_id=lease_id, starting_ms=0, busy_ms=0, idle_ms=idle_ms, limit_ms=limit_ms)
