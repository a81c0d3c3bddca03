"""What GPUs, kernels and hosts do right now: an agent's samples, once a second, and what the broker shows of them.

``None`` is what the driver cannot say of a device. Percentages are of one device (GPU), of one core (a kernel's CPU:
250 is two and a half cores) or of all cores (the host). Clocks and counters are the driver's own.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .models import Document


class GpuSample(Document):
    """One device. Source: NVML; a simulated device's figures follow its kernel's CPU use.

    Of a MIG instance only memory, processes and Xids are its own: power, energy, temperature, clocks, what slows it
    down and ECC errors are the whole GPU's, and how busy it is the driver does not say.
    """

    uuid: str
    simulated: bool = False
    problem: str = ""  # why nothing can be said, for people: "GPU is lost"
    utilization_percent: float | None = None  # of the time in which any work ran on it
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_milliwatts: int | None = None
    power_limit_milliwatts: int | None = None
    energy_millijoules: int | None = None  # since the driver was loaded
    temperature_celsius: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttled_by: list[str] = Field(default_factory=list)  # "power", "heat", "hardware"
    corrected_ecc_errors: int | None = None  # since the driver was loaded
    uncorrected_ecc_errors: int | None = None  # since the driver was loaded
    xid_errors: dict[int, int] | None = None  # how often the driver has reported each, since the agent began
    last_xid: str = ""  # the latest of them, for people: "Xid 31: … (12:03 UTC)"


class OwnGpu(Document):
    """A device in a kernel's hand, and what the kernel's own processes hold on it."""

    uuid: str
    own_memory_bytes: int | None = None


class KernelSample(Document):
    """A kernel's processes together: the kernel, and all that its cells have started."""

    kernel_id: str
    processes: int = Field(ge=0)
    cpu_percent: float = Field(ge=0)
    memory_bytes: int = Field(ge=0)  # resident
    gpus: list[OwnGpu] = Field(default_factory=list)  # those it holds now


class HostSample(Document):
    cpu_percent: float
    cores: int
    memory_used_bytes: int
    memory_total_bytes: int


class Usage(Document):
    """Agent → broker, once a second. Figures only: nothing is decided or billed by them."""

    type: Literal["usage"] = "usage"
    host: HostSample
    gpus: list[GpuSample]
    kernels: list[KernelSample]


# broker → people ------------------------------------------------------------------------------------------------


class GpuUsage(GpuSample):
    """A device as the kernel that holds it sees it."""

    own_memory_bytes: int | None = None


class UsageAt(Document):
    """One second of a kernel. ``at``: ISO 8601, UTC, the broker's clock when the sample came."""

    at: str
    processes: int
    cpu_percent: float
    memory_bytes: int
    gpus: list[GpuUsage]


class KernelUsage(Document):
    """What ``GET /api/kernels/{id}/usage`` answers; oldest sample first.

    ``live``: whether samples come at the moment. Where they do not, ``reason`` says why, for people.
    """

    kernel_id: str
    live: bool
    reason: str = ""
    host: HostSample | None = None
    samples: list[UsageAt]
