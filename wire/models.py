"""Documents that more than one part reads: GPUs, kernels, leases and bills as the API and the links show them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .states import GpuState as GpuState
from .states import KernelState as KernelState


class Document(BaseModel):
    """Unknown fields are ignored: a newer minor version may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Gpu(Document):
    uuid: str
    index: int
    model: str  # short, as in a GPU spec: H100, A100-80GB, H100-1g.10gb
    name: str  # as the driver says
    memory_bytes: int
    simulated: bool = False
    state: GpuState = GpuState.FREE
    reason: str = ""  # why it is not free, for people
    part_of: str = ""  # of a MIG instance: the uuid of the GPU that it is a part of
    part: int | None = None  # of a MIG instance: its number on that GPU

    @property
    def place(self) -> str:
        """Which of its host's devices it is, as NVIDIA's tools write it: ``0``, or ``0:1`` for a MIG instance."""
        return str(self.index) if self.part is None else f"{self.index}:{self.part}"

    @property
    def order(self) -> tuple[int, int]:
        """By which a host's devices are listed."""
        return self.index, -1 if self.part is None else self.part


class GrantedGpus(Document):
    """What a kernel holds."""

    model: str
    count: int
    simulated: bool
    uuids: list[str]
    agent_id: str
    agent_name: str


class LeaseView(Document):
    """A lease as its user sees it; durations in milliseconds, money in integers."""

    id: str
    price_microdollars_per_second: int
    count: int
    starting_ms: int = 0
    busy_ms: int = 0
    idle_ms: int = 0
    cost_nanodollars: int = 0


class KernelView(Document):
    """A kernel as its user sees it: the ``perijove`` object of the kernel API, and the ``state`` message of a link."""

    id: str
    name: str
    state: KernelState
    gpu_spec: str
    incarnation: str | None = None  # hex; None while there is no process
    gpus: GrantedGpus | None = None
    lease: LeaseView | None = None
    busy: bool = False
    queue_reason: str = ""  # "waiting for H100: 2nd in line: 8 of 8 H100 in use"
    release_in_s: float | None = None  # counted from when this was sent; None while nothing is scheduled
    idle_timeout_s: float = 60.0  # how long it may be idle, as things are now
    keep_extra_s: float = 0.0  # asked for while something runs: how much longer it is kept after that
    keeps_state: bool = True  # whether a release would keep the variables, as things are now
    saved_nanodollars: int = 0  # what releasing has saved this kernel so far
    notice: str = ""  # one plain sentence about a loss, until the next cell has said it
    budget_nanodollars: int | None = None  # what this kernel may cost altogether; None: no limit
    spent_nanodollars: int = 0  # by all its leases so far, simulated ones too
    spent_simulated_nanodollars: int = 0  # the part of it that is simulated
    budget_warning: str = ""  # one plain sentence, from 80 % of the budget on
    draining: str = ""  # "gpu-1 is draining (asked by ann)" while its process or GPU is on such an agent


class BillLine(Document):
    id: str
    kernel: str
    user: str
    gpu: str
    count: int
    agent: str
    simulated: bool
    opened_at: str  # UTC, ISO 8601
    closed_at: str | None
    starting_ms: int
    busy_ms: int
    idle_ms: int
    price_microdollars_per_second: int
    cost_nanodollars: int


class Bill(Document):
    currency: Literal["USD"] = "USD"
    total_nanodollars: int
    simulated_nanodollars: int  # apart, never in the total
    leases: list[BillLine] = Field(default_factory=list)

    def of_kernels(self, kernel_ids: Collection[str]) -> Bill:
        """The part of it that these kernels have run up."""
        lines = [line for line in self.leases if line.kernel in kernel_ids]
        return Bill(
            total_nanodollars=sum(line.cost_nanodollars for line in lines if not line.simulated),
            simulated_nanodollars=sum(line.cost_nanodollars for line in lines if line.simulated),
            leases=lines,
        )
