"""Real GPUs, through NVIDIA's management library. Where there is no driver there are no GPUs, and that is no error.

NVML is asked from the agent only, never inside a kernel: it must keep working while a kernel's GPU memory is moved
away. The library is loaded when first needed, and again later if it was not there: a driver may be installed meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from ...wire.gpu_spec import model_from_device_name
from ...wire.models import Gpu, GpuState
from ...wire.usage import GpuSample
from ..errors import GpuUnavailable

_QUIET_PERCENT = 1
_THROTTLED_BY = {  # NVML's clocks event reasons that slow a device down against its user's will
    "power": pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "heat": pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hardware": pynvml.nvmlClocksThrottleReasonHwSlowdown,
}
_SM, _MEMORY = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM


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

    def sample(self, uuid: str) -> GpuSample:
        """What a GPU does now; of one that cannot be reached, why."""
        try:
            with _saying(uuid):
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except GpuUnavailable as error:
            return GpuSample(uuid=uuid, problem=str(error))
        rates = _if_known(pynvml.nvmlDeviceGetUtilizationRates, handle)
        reasons = _if_known(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        errors = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return GpuSample(
            uuid=uuid,
            utilization_percent=None if rates is None else rates.gpu,
            memory_used_bytes=memory.used,
            memory_total_bytes=memory.total,
            power_milliwatts=_if_known(pynvml.nvmlDeviceGetPowerUsage, handle),
            power_limit_milliwatts=_if_known(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle),
            energy_millijoules=_if_known(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            temperature_celsius=_if_known(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            sm_clock_mhz=_if_known(pynvml.nvmlDeviceGetClockInfo, handle, _SM),
            memory_clock_mhz=_if_known(pynvml.nvmlDeviceGetClockInfo, handle, _MEMORY),
            throttled_by=[what for what, bits in _THROTTLED_BY.items() if reasons & bits],
            uncorrected_ecc_errors=_if_known(pynvml.nvmlDeviceGetTotalEccErrors, handle, *errors),
        )

    def memory_by_process(self, uuid: str) -> dict[int, int]:
        """Bytes of GPU memory by pid, of those that compute; empty where the driver does not say.

        In a container without the host's pid namespace the driver tells pids of the host, which are nobody's here.
        """
        try:
            with _saying(uuid):
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                found = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except GpuUnavailable:
            return {}
        return {int(process.pid): int(process.usedGpuMemory) for process in found if process.usedGpuMemory is not None}

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
    illness = _illness(handle)
    return Gpu(
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        index=index,
        model=model_from_device_name(name, memory),
        name=name,
        memory_bytes=memory,
        state=GpuState.UNHEALTHY if illness else GpuState.FREE,
        reason=illness,
    )


def _illness(handle: Any) -> str:
    """Why nothing new may run on a device, for people; empty when it is well.

    Errors that could not be corrected are counted until the device is reset: results after one cannot be trusted.
    """
    errors = _if_known(
        pynvml.nvmlDeviceGetTotalEccErrors, handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    )
    if errors:
        plural = "errors" if errors > 1 else "error"
        return f"{errors} uncorrected memory {plural}; reset it (nvidia-smi --gpu-reset) or restart its host"
    remapped = _if_known(pynvml.nvmlDeviceGetRemappedRows, handle)
    if remapped is not None and remapped[3]:
        return "its memory has bad rows and no spare ones left; it has to be replaced"
    return ""


def _if_known(question: Callable[..., Any], *arguments: Any) -> Any:
    """What the driver says; None where it cannot, as many devices cannot say everything."""
    try:
        return question(*arguments)
    except (pynvml.NVMLError, AttributeError):  # of a library older than the question: AttributeError
        return None


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
