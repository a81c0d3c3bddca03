"""What this host's GPUs and kernels do, once a second, for people to look at. Nothing is decided or billed by it.

One thread does the asking, one round at a time, so a driver in trouble delays the next sample and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from ..wire.models import Gpu
from ..wire.usage import GpuSample, HostSample, KernelSample, OwnGpu, Usage
from .gpus.pool import Driver
from .gpus.simulated import SimulatedMeter

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A kernel to look at: its process, and the devices that it holds."""

    kernel_id: str
    pid: int
    gpus: tuple[str, ...]


@dataclass(slots=True)
class Telemetry:
    """``sample`` is asked from one thread at a time. A first sample's CPU figures are 0: they are of a time span."""

    driver: Driver | None
    _simulated: SimulatedMeter = field(default_factory=SimulatedMeter)
    _processes: dict[int, psutil.Process] = field(default_factory=dict)  # kept, as psutil measures between two calls

    async def look(self, gpus: Sequence[Gpu], kernels: Sequence[Watched]) -> Usage:
        return await asyncio.to_thread(self.sample, gpus, kernels)

    def sample(self, gpus: Sequence[Gpu], kernels: Sequence[Watched]) -> Usage:
        families = _families([kernel.pid for kernel in kernels])
        self._forget_all_but({pid for family in families.values() for pid in family})
        looked = {kernel.kernel_id: self._kernel(kernel, families[kernel.pid]) for kernel in kernels}
        holders = {uuid: looked[kernel.kernel_id] for kernel in kernels for uuid in kernel.gpus}
        return Usage(
            host=_host(),
            gpus=[self._gpu(gpu, holders.get(gpu.uuid)) for gpu in gpus],
            kernels=[self._with_gpus(kernel, looked[kernel.kernel_id], families[kernel.pid]) for kernel in kernels],
        )

    # processes ----------------------------------------------------------------------------------------------------

    def _kernel(self, kernel: Watched, family: Sequence[int]) -> KernelSample:
        cpu_percent, memory_bytes, processes = 0.0, 0, 0
        for pid in family:
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                process = self._processes.get(pid)
                if process is None:
                    process = self._processes[pid] = psutil.Process(pid)
                with process.oneshot():
                    cpu_percent += process.cpu_percent()
                    memory_bytes += process.memory_info().rss
                processes += 1
        return KernelSample(
            kernel_id=kernel.kernel_id, processes=processes, cpu_percent=cpu_percent, memory_bytes=memory_bytes
        )

    def _forget_all_but(self, pids: set[int]) -> None:
        for pid in self._processes.keys() - pids:
            del self._processes[pid]
        for pid, process in list(self._processes.items()):
            if not process.is_running():  # another process has its number now
                del self._processes[pid]

    # devices ------------------------------------------------------------------------------------------------------

    def _gpu(self, gpu: Gpu, holder: KernelSample | None) -> GpuSample:
        if gpu.simulated:
            return self._simulated.sample(gpu, holder, time.monotonic())
        if self.driver is None:
            return GpuSample(uuid=gpu.uuid, problem="there is no driver on this system")
        return self.driver.sample(gpu.uuid)

    def _with_gpus(self, kernel: Watched, sample: KernelSample, family: Sequence[int]) -> KernelSample:
        own = [OwnGpu(uuid=uuid, own_memory_bytes=self._own_memory(uuid, sample, family)) for uuid in kernel.gpus]
        return sample.model_copy(update={"gpus": own})

    def _own_memory(self, uuid: str, sample: KernelSample, family: Sequence[int]) -> int | None:
        if uuid in self._simulated:
            return self._simulated.memory_of(uuid, sample)
        if self.driver is None:
            return None
        by_process = self.driver.memory_by_process(uuid)
        return None if by_process is None else sum(by_process.get(pid, 0) for pid in family)


def _families(pids: Sequence[int]) -> dict[int, list[int]]:
    """Each process with all its descendants, from one look at the system's processes."""
    children: dict[int, list[int]] = {}
    if pids:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                children.setdefault(process.ppid(), []).append(process.pid)
    families: dict[int, list[int]] = {}
    for pid in pids:
        family, unseen = [pid], [pid]
        while unseen:
            born = children.get(unseen.pop(), [])
            family += born
            unseen += born
        families[pid] = family
    return families


def _host() -> HostSample:
    memory = psutil.virtual_memory()
    return HostSample(
        cpu_percent=psutil.cpu_percent(),
        cores=psutil.cpu_count() or 1,
        memory_used_bytes=memory.total - memory.available,
        memory_total_bytes=memory.total,
    )
