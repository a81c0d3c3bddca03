"""Stand-in GPUs, on request only, for trying and testing; every surface says that they are simulated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...wire.errors import UsageError
from ...wire.gpu_spec import GIB
from ...wire.models import Gpu
from ...wire.usage import GpuSample, KernelSample

_MEMORY_GIB = {
    "T4": 16,
    "L4": 24,
    "A10": 24,
    "A10G": 24,
    "L40S": 48,
    "A100-40GB": 40,
    "A100-80GB": 80,
    "RTX-PRO-6000": 96,
    "H100": 80,
    "H200": 141,
    "B200": 180,
    "B300": 288,
}
_OTHER_MEMORY_GIB = 24
_POWER_LIMIT_W = {"T4": 70, "L4": 72, "A10": 150, "A10G": 300, "L40S": 350, "A100-40GB": 400, "A100-80GB": 400}
_OTHER_POWER_LIMIT_W = 700
_IDLE_SHARE = 0.1  # of its power limit, that a device takes at rest
_COLD_CELSIUS, _WARMER_BY = 32, 45
_IDLE_MHZ, _BUSY_MHZ, _MEMORY_MHZ = 345, 1980, 2619
_MODEL = re.compile(r"[A-Z][A-Z0-9-]*\Z")


def simulated_gpus(wanted: Sequence[tuple[str, int]], agent_id: str, first_index: int = 0) -> list[Gpu]:
    """Devices whose uuids are the same at each start of this agent, and no other agent's.

    Raises:
        UsageError: when a model or count cannot be one.
    """
    whose = hashlib.sha256(agent_id.encode()).hexdigest()[:12]
    gpus: list[Gpu] = []
    for given, count in wanted:
        model = "A100-80GB" if given.upper() == "A100" else given.upper()
        if not _MODEL.match(model) or count < 1:
            raise UsageError(f"{given}:{count} cannot be simulated; write --simulate H100:2")
        for _ in range(count):
            index = first_index + len(gpus)
            gpus.append(
                Gpu(
                    uuid=f"SIM-{model}-{index}-{whose}",
                    index=index,
                    model=model,
                    name=f"Simulated {model}",
                    memory_bytes=_MEMORY_GIB.get(model, _OTHER_MEMORY_GIB) * GIB,
                    simulated=True,
                )
            )
    return gpus


@dataclass(slots=True)
class SimulatedMeter:
    """Plausible figures for devices that are none: as busy as their kernel's processor use, as full as its memory."""

    _energy_mj: dict[str, float] = field(default_factory=dict)
    _last: dict[str, tuple[float, float]] = field(default_factory=dict)  # when, and how many watts
    _total_bytes: dict[str, int] = field(default_factory=dict)

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._total_bytes

    def sample(self, gpu: Gpu, holder: KernelSample | None, now_s: float) -> GpuSample:
        share = 0.0 if holder is None else min(1.0, holder.cpu_percent / 100)
        limit_w = _POWER_LIMIT_W.get(gpu.model, _OTHER_POWER_LIMIT_W)
        power_w = limit_w * (_IDLE_SHARE + (1 - _IDLE_SHARE) * share)
        self._total_bytes[gpu.uuid] = gpu.memory_bytes
        then_s, before_w = self._last.get(gpu.uuid, (now_s, power_w))
        energy_mj = self._energy_mj.get(gpu.uuid, 0.0) + (now_s - then_s) * before_w * 1000
        self._energy_mj[gpu.uuid], self._last[gpu.uuid] = energy_mj, (now_s, power_w)
        return GpuSample(
            uuid=gpu.uuid,
            simulated=True,
            utilization_percent=round(100 * share, 1),
            memory_used_bytes=0 if holder is None else self.memory_of(gpu.uuid, holder),
            memory_total_bytes=gpu.memory_bytes,
            power_milliwatts=round(power_w * 1000),
            power_limit_milliwatts=limit_w * 1000,
            energy_millijoules=round(energy_mj),
            temperature_celsius=round(_COLD_CELSIUS + _WARMER_BY * share),
            sm_clock_mhz=round(_IDLE_MHZ + (_BUSY_MHZ - _IDLE_MHZ) * share),
            memory_clock_mhz=_MEMORY_MHZ,
            corrected_ecc_errors=0,
            uncorrected_ecc_errors=0,
            xid_errors={},
        )

    def memory_of(self, uuid: str, holder: KernelSample) -> int:
        return min(holder.memory_bytes, self._total_bytes[uuid])
