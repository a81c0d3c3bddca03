"""Real GPUs, through NVIDIA's management library. Where there is no driver there are no GPUs, and that is no error.

NVML is asked from the agent only, never inside a kernel: it must keep working while a kernel's GPU memory is moved
away. The library is loaded when first needed, and again later if it was not there: a driver may be installed meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pynvml

from ...wire.gpu_spec import model_from_device_name
from ...wire.models import Gpu, GpuState
from ..errors import GpuUnavailable

_QUIET_PERCENT = 1


class Nvidia:
    """A :class:`~.pool.Driver`. All calls may block for milliseconds, or longer with a driver in trouble."""

    def __init__(self) -> None:
        self._ready = False
        self._known: dict[str, Gpu] = {}

    def gpus(self) -> list[Gpu]:
        """The devices as the driver lists them now; one that it had listed before and cannot reach is ``lost``."""
        if not self._start():
            return [_lost(gpu, "the driver does not answer") for gpu in self._known.values()]
        found: dict[str, Gpu] = {}
        for index in range(self._count()):
            try:
                gpu = _describe(index)
            except pynvml.NVMLError as error:
                known = next((gpu for gpu in self._known.values() if gpu.index == index), None)
                if known is not None:
                    found[known.uuid] = _lost(known, str(error))
                continue
            found[gpu.uuid] = gpu
        for uuid, gpu in self._known.items():
            if uuid not in found:
                found[uuid] = _lost(gpu, "it fell off the bus")
        self._known = {
            uuid: gpu.model_copy(update={"state": GpuState.FREE, "reason": ""}) for uuid, gpu in found.items()
        }
        return list(found.values())

    def users(self, uuid: str) -> list[int]:
        """The pids that compute on a GPU.

        Raises:
            GpuUnavailable: when the driver cannot say, as with a GPU that is lost.
        """
        with _saying(uuid):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return [int(process.pid) for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]

    def busy_percent(self, uuid: str) -> int:
        """How busy the GPU was over the driver's last sampling period.

        Raises:
            GpuUnavailable: when the driver cannot say.
        """
        with _saying(uuid):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    def is_quiet(self, uuid: str) -> bool:
        """Whether nothing computes. A GPU is leased whole, so what runs on it is its holder's."""
        try:
            return self.busy_percent(uuid) <= _QUIET_PERCENT
        except GpuUnavailable:
            return True  # a lost GPU does nothing; that it is lost is said elsewhere

    def _start(self) -> bool:
        if not self._ready:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlInit()
                self._ready = True
        return self._ready

    def _count(self) -> int:
        try:
            return int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError:
            self._ready = False  # the driver was unloaded or restarted: begin again at the next look
            return 0


def _describe(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = _text(pynvml.nvmlDeviceGetName(handle))
    memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return Gpu(
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        index=index,
        model=model_from_device_name(name, memory),
        name=name,
        memory_bytes=memory,
    )


def _lost(gpu: Gpu, reason: str) -> Gpu:
    return gpu.model_copy(update={"state": GpuState.LOST, "reason": reason})


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def _saying(uuid: str) -> Iterator[None]:
    try:
        yield
    except pynvml.NVMLError as error:
        raise GpuUnavailable(f"the driver cannot reach GPU {uuid}: {error}") from error
