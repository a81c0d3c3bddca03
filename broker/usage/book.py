"""What agents say that GPUs and kernels do, kept for five minutes, for people to look at.

Only in memory, and apart from the fleet: nothing is decided or billed by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ...wire.models import KernelState
from ...wire.usage import GpuSample, GpuUsage, HostSample, KernelSample, KernelUsage, Usage, UsageAt
from ..core.clock import BootMs, Now
from ..core.records import Kernel
from ..ledger.bill import iso
from .history import UseHistory

KEPT_SAMPLES = 300
STALE_AFTER_MS = 5_000

_ABSENT = {
    KernelState.DETACHED: "no GPU has been asked for yet",
    KernelState.QUEUED: "it waits for a GPU",
}


@dataclass(slots=True)
class _AgentUsage:
    came_at: BootMs
    usage: Usage
    gpus: dict[str, GpuSample]


@dataclass(slots=True)
class _KernelHistory:
    """Samples are kept as JSON, as they are asked for: a hundred thousand objects more, of some hundreds of kernels,
    would have the garbage collector stop the broker for a third of a second, every few seconds."""

    came_at: BootMs
    newest: UsageAt
    count: int = 0  # of all samples there ever were
    samples: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT_SAMPLES))

    def last(self, count: int) -> list[UsageAt]:
        """The newest ones, oldest first."""
        if count == 1:
            return [self.newest]
        kept = islice(self.samples, max(0, len(self.samples) - count), None)
        return [UsageAt.model_validate_json(sample) for sample in kept]


class UsageBook:
    def __init__(self) -> None:
        self._agents: dict[str, _AgentUsage] = {}
        self._kernels: dict[str, _KernelHistory] = {}
        self._use = UseHistory()

    def take(self, agent_id: str, usage: Usage, kernels: Mapping[str, Kernel], now: Now) -> list[Kernel]:
        """An agent's samples; returns the kernels that they are of. What it says of a kernel that is not with it is not
        believed."""
        taken = []
        gpus = {sample.uuid: sample for sample in usage.gpus}
        self._agents[agent_id] = _AgentUsage(now.boot, usage, gpus)
        for gpu in usage.gpus:
            self._use.note(agent_id, gpu.uuid, gpu.utilization_percent, now.boot // 1000)
        at = iso(now.wall)
        for sample in usage.kernels:
            kernel = kernels.get(sample.kernel_id)
            if kernel is not None and kernel.agent_id == agent_id:
                joined = _joined(sample, gpus, at)
                history = self._kernels.setdefault(sample.kernel_id, _KernelHistory(now.boot, joined))
                history.came_at, history.newest = now.boot, joined
                history.samples.append(joined.model_dump_json().encode())
                history.count += 1
                taken.append(kernel)
        return taken

    def forget(self, kernels: Mapping[str, Kernel], now: Now) -> None:
        """Drop the histories of all kernels but these, and of devices that nobody has spoken of for long."""
        self._use.forget(now.boot // 1000)
        for kernel_id in self._kernels.keys() - kernels.keys():
            del self._kernels[kernel_id]

    def gone(self, agent_id: str) -> None:
        """The agent's link has closed: its figures are of no time that anyone knows."""
        self._agents.pop(agent_id, None)

    def gpu(self, agent_id: str, uuid: str, now: Now) -> GpuSample | None:
        """What a device does now; None when its agent has not said lately."""
        agent = self._fresh(agent_id, now)
        return None if agent is None else agent.gpus.get(uuid)

    def history(self, agent_id: str, uuid: str, now: Now) -> bytes:
        """How much of a device was in use in the seconds before, as ``UseHistory`` has it."""
        return self._use.of(agent_id, uuid, now.boot // 1000)

    def host(self, agent_id: str, now: Now) -> HostSample | None:
        agent = self._fresh(agent_id, now)
        return None if agent is None else agent.usage.host

    def latest(self, kernel_id: str, now: Now) -> dict[str, Any] | None:
        """What a kernel's processes did in the last second; None when its agent has not said lately."""
        history = self._kernels.get(kernel_id)
        if history is None or now.boot - history.came_at > STALE_AFTER_MS:
            return None
        sample = history.newest
        own = [gpu.own_memory_bytes for gpu in sample.gpus if gpu.own_memory_bytes is not None]
        return {
            "processes": sample.processes,
            "cpu_percent": sample.cpu_percent,
            "memory_bytes": sample.memory_bytes,
            "own_memory_bytes": sum(own) if own else None,
        }

    def count(self, kernel_id: str) -> int:
        """How many samples of this kernel there have been, kept or not."""
        history = self._kernels.get(kernel_id)
        return 0 if history is None else history.count

    def since(self, kernel: Kernel, count: int, now: Now) -> tuple[KernelUsage, int]:
        """What has come after the first ``count`` samples, as far as it is kept, and how many there are now."""
        history = self._kernels.get(kernel.id)
        new = 0 if history is None else min(len(history.samples), history.count - count)
        return self.of_kernel(kernel, now, newest=new), self.count(kernel.id)

    def of_kernel(self, kernel: Kernel, now: Now, *, newest: int = KEPT_SAMPLES) -> KernelUsage:
        """``newest``: how many samples at most."""
        history = self._kernels.get(kernel.id)
        live = history is not None and now.boot - history.came_at <= STALE_AFTER_MS
        return KernelUsage(
            kernel_id=kernel.id,
            live=live,
            reason="" if live else self._why_absent(kernel, now),
            host=self.host(kernel.agent_id, now) if kernel.agent_id is not None else None,
            samples=[] if history is None else history.last(newest),
        )

    def _fresh(self, agent_id: str, now: Now) -> _AgentUsage | None:
        agent = self._agents.get(agent_id)
        return agent if agent is not None and now.boot - agent.came_at <= STALE_AFTER_MS else None

    def _why_absent(self, kernel: Kernel, now: Now) -> str:
        if kernel.incarnation is None:
            return _ABSENT.get(kernel.state, "it has no process at the moment")
        if self._fresh(kernel.agent_id or "", now) is None:
            return f"the agent {kernel.agent_name or kernel.agent_id} does not report at the moment"
        return "its process has just begun"


def _joined(sample: KernelSample, gpus: Mapping[str, GpuSample], at: str) -> UsageAt:
    return UsageAt(
        at=at,
        processes=sample.processes,
        cpu_percent=sample.cpu_percent,
        memory_bytes=sample.memory_bytes,
        gpus=[
            GpuUsage(**gpus[own.uuid].model_dump(), own_memory_bytes=own.own_memory_bytes)
            for own in sample.gpus
            if own.uuid in gpus
        ],
    )
