"""Real GPUs, through NVIDIA's management library. Where there is no driver there are no GPUs, and that is no error.

NVML is asked from the agent only, never inside a kernel: it must keep working while a kernel's GPU memory is moved
away. The library is loaded when first needed, and again later if it was not there: a driver may be installed meanwhile.
A GPU in MIG mode is not one device but its instances, each with memory and processes of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pynvml
import structlog

from ...wire.gpu_spec import mig_model, model_from_device_name
from ...wire.models import Gpu, GpuState
from ...wire.usage import GpuSample
from ..errors import GpuUnavailable
from .nvml_questions import (
    GONE,
    LOST,
    ecc_errors,
    if_known,
    illness,
    in_mig_mode,
    memory_of,
    saying,
    size_in_name,
    text,
    why_gone,
)
from .xid_watch import XidReports

_QUIET_PERCENT = 1
_THROTTLED_BY = {  # NVML's clocks event reasons that slow a device down against its user's will
    "power": pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "heat": pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hardware": pynvml.nvmlClocksThrottleReasonHwSlowdown,
}
_SM, _MEMORY = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
log = structlog.get_logger("perijove.agent")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Device:
    """What can be leased: a whole GPU, or a MIG instance."""

    gpu: Gpu
    instance: int | None = None  # a MIG GPU instance's id

    @property
    def whole(self) -> str:
        """The uuid of the GPU that it is, or is a part of."""
        return self.gpu.part_of or self.gpu.uuid


class Nvidia:
    """A :class:`~.pool.Driver`. All calls may block for milliseconds, or longer with a driver in trouble.

    ``in_doubt`` is called, in a thread, when the driver has reported an error that puts a device in doubt: look again.
    """

    def __init__(self, in_doubt: Callable[[], None] = lambda: None, now: Callable[[], datetime] = _utc_now) -> None:
        self._ready = False
        self._why_gone = ""
        self._known: dict[str, _Device] = {}
        self._unreached: set[str] = set()  # whole GPUs that have to be reset, or their driver loaded, to come back
        self._without_instances: set[str] = set()
        self._xids = XidReports(in_doubt, now)

    def gpus(self) -> list[Gpu]:
        """The devices as the driver lists them now; one that it had listed before and cannot reach is ``lost``."""
        if not self._start():
            return self._all_lost()
        try:
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            self._give_up(error)
            return self._all_lost()
        found: dict[str, _Device] = {}
        lost: dict[str, str] = {}  # whole GPU → why
        reached: set[str] = set()
        for index in range(count):
            try:
                whole, devices = self._look(index)
            except pynvml.NVMLError as error:
                if error.value in GONE:
                    self._give_up(error)
                    return self._all_lost()
                there = {device.whole for device in self._known.values() if device.gpu.index == index}
                lost |= dict.fromkeys(there, str(error))
                if error.value in LOST:
                    self._unreached |= there
                continue
            reached.add(whole)
            found |= {device.gpu.uuid: device for device in devices}
        gone = [device for device in self._known.values() if device.whole not in reached]
        self._unreached |= {device.whole for device in gone if device.whole not in lost}
        self._known = found | {device.gpu.uuid: device for device in gone}
        self._xids.listen_to(frozenset(reached))
        return [
            *(device.gpu for device in found.values()),
            *(self._lost(device, lost.get(device.whole, "it fell off the bus")) for device in gone),
        ]

    def users(self, uuid: str) -> list[int]:
        """The pids that compute on a GPU.

        Raises:
            GpuUnavailable: when the driver cannot say, as with a GPU that is lost.
        """
        with saying(uuid):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return [int(process.pid) for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]

    def busy_percent(self, uuid: str) -> int:
        """How busy the GPU was over the driver's last sampling period.

        Raises:
            GpuUnavailable: when the driver cannot say, which it never can of a MIG instance.
        """
        with saying(uuid):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    def is_quiet(self, uuid: str) -> bool:
        """Whether nothing computes, as far as anybody knows. A GPU is leased whole, so what runs on it is its holder's.

        A lost GPU does nothing; that it is lost is said elsewhere. A MIG instance on which something computes without
        a cell cannot be told from one at rest: better release it than bill it for ever.
        """
        try:
            return self.busy_percent(uuid) <= _QUIET_PERCENT
        except GpuUnavailable:
            return True

    def sample(self, uuid: str) -> GpuSample:
        """What a GPU does now; of one that cannot be reached, why."""
        device = self._known.get(uuid)
        errors = self._errors_of(uuid)
        if not self._ready and self._why_gone:
            return GpuSample(uuid=uuid, problem=self._why_gone, **errors)
        try:
            with saying(uuid):
                handle = whole = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                if device is not None and device.instance is not None:
                    whole = pynvml.nvmlDeviceGetHandleByUUID(device.whole)
                memory = memory_of(handle)
        except GpuUnavailable as error:
            return GpuSample(uuid=uuid, problem=str(error), **errors)
        rates = if_known(pynvml.nvmlDeviceGetUtilizationRates, handle)
        reasons = if_known(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, whole) or 0
        corrected, uncorrected = ecc_errors(whole)
        return GpuSample(
            uuid=uuid,
            utilization_percent=None if rates is None else rates.gpu,
            memory_used_bytes=memory.used,
            memory_total_bytes=memory.total,
            power_milliwatts=if_known(pynvml.nvmlDeviceGetPowerUsage, whole),
            power_limit_milliwatts=if_known(pynvml.nvmlDeviceGetEnforcedPowerLimit, whole),
            energy_millijoules=if_known(pynvml.nvmlDeviceGetTotalEnergyConsumption, whole),
            temperature_celsius=if_known(pynvml.nvmlDeviceGetTemperature, whole, pynvml.NVML_TEMPERATURE_GPU),
            sm_clock_mhz=if_known(pynvml.nvmlDeviceGetClockInfo, whole, _SM),
            memory_clock_mhz=if_known(pynvml.nvmlDeviceGetClockInfo, whole, _MEMORY),
            throttled_by=[what for what, bits in _THROTTLED_BY.items() if reasons & bits],
            corrected_ecc_errors=corrected,
            uncorrected_ecc_errors=uncorrected,
            **errors,
        )

    def memory_by_process(self, uuid: str) -> dict[int, int] | None:
        """Bytes of GPU memory by pid, of those that compute; None where the driver cannot say.

        In a container without the host's pid namespace the driver tells pids of the host, which are nobody's here.
        """
        try:
            with saying(uuid):
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                found = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except GpuUnavailable:
            return None
        if any(process.usedGpuMemory is None for process in found):
            return None
        return {int(process.pid): int(process.usedGpuMemory) for process in found}

    def close(self) -> None:
        """End the thread that listens to the driver."""
        self._xids.stop()

    # the driver ---------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        if not self._ready:
            try:
                pynvml.nvmlInit()
                self._ready = True
            except pynvml.NVMLError as error:
                self._note_gone(error)
        return self._ready

    def _give_up(self, error: pynvml.NVMLError) -> None:
        """The driver was unloaded or restarted: begin again at the next look."""
        self._note_gone(error)
        self.close()
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()  # else the next start would only be counted
        self._ready = False

    def _note_gone(self, error: pynvml.NVMLError) -> None:
        self._why_gone = why_gone(error)
        if error.value in GONE:
            self._unreached |= {device.whole for device in self._known.values()}

    def _all_lost(self) -> list[Gpu]:
        return [self._lost(device, self._why_gone) for device in self._known.values()]

    # devices ------------------------------------------------------------------------------------------------------

    def _look(self, index: int) -> tuple[str, list[_Device]]:
        """A GPU's uuid, and what of it can be leased."""
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = text(pynvml.nvmlDeviceGetUUID(handle)), text(pynvml.nvmlDeviceGetName(handle))
        in_parts = in_mig_mode(handle)
        memory = size_in_name(name) if in_parts else int(memory_of(handle).total)
        model = model_from_device_name(name, memory)
        if uuid in self._unreached:
            self._unreached.discard(uuid)
            self._xids.was_reset(uuid)
        ill = illness(handle) or self._xids.illness(uuid)
        state = GpuState.UNHEALTHY if ill else GpuState.FREE
        whole = Gpu(uuid=uuid, index=index, model=model, name=name, memory_bytes=memory, state=state, reason=ill)
        if not in_parts:
            self._without_instances.discard(uuid)
            return uuid, [_Device(whole)]
        instances = [_instance(whole, part, part_handle) for part, part_handle in _parts(handle)]
        self._warn_without_instances(whole, bool(instances))
        return uuid, instances

    def _warn_without_instances(self, whole: Gpu, any_there: bool) -> None:
        if any_there:
            self._without_instances.discard(whole.uuid)
        elif whole.uuid not in self._without_instances:
            self._without_instances.add(whole.uuid)
            log.warning("a GPU in MIG mode has no instances, so nothing of it can be leased", gpu=whole.uuid)

    def _lost(self, device: _Device, reason: str) -> Gpu:
        """The error report that came with it tells more than that it cannot be reached."""
        reason = self._xids.illness(device.whole) or reason
        return device.gpu.model_copy(update={"state": GpuState.LOST, "reason": reason})

    def _errors_of(self, uuid: str) -> dict[str, Any]:
        """The fields of a sample that say which Xids there were; none where the device cannot report them."""
        device = self._known.get(uuid)
        counts, latest = (None, "") if device is None else self._xids.of(device.whole, device.instance)
        return {"xid_errors": counts, "last_xid": latest}


def _parts(handle: Any) -> Iterator[tuple[int, Any]]:
    """The MIG instances of a GPU: their numbers, which have gaps, and handles."""
    for part in range(if_known(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part_handle = if_known(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, part)
        if part_handle is not None:
            yield part, part_handle


def _instance(whole: Gpu, part: int, handle: Any) -> _Device:
    name = text(pynvml.nvmlDeviceGetName(handle))
    memory = int(memory_of(handle).total)
    attributes = if_known(pynvml.nvmlDeviceGetAttributes, handle)
    slices = 1 if attributes is None else int(attributes.gpuInstanceSliceCount)
    gpu = whole.model_copy(
        update={
            "uuid": text(pynvml.nvmlDeviceGetUUID(handle)),
            "model": mig_model(whole.model, name, slices, memory),
            "name": name,
            "memory_bytes": memory,
            "part_of": whole.uuid,
            "part": part,
        }
    )
    return _Device(gpu, if_known(pynvml.nvmlDeviceGetGpuInstanceId, handle))
