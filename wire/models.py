"""Documents that more than one part reads: GPUs, kernels, leases and bills as the API and the links show them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .states import BudgetScope as BudgetScope
from .states import GpuState as GpuState
from .states import KernelState as KernelState
from .states import SetBy as SetBy


class Document(BaseModel):
    """Unknown fields are ignored: a newer minor version may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Gpu(Document):
    uuid: str
    index: int
    model: str  # short, as in a GPU spec: H100, A100-80GB
    name: str  # as the driver says
    memory_bytes: int
    simulated: bool = False
    state: GpuState = GpuState.FREE
    reason: str = ""  # why it is not free, for people


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


class BudgetView(Document):
    """A budget that applies to a kernel, and what is spent of it as of now.

    A user's and a month's budget count real and simulated money apart: the same limit holds for each. A kernel's counts
    both together, and is called simulated as soon as there is simulated money in it.
    """

    scope: BudgetScope
    limit_nanodollars: int
    spent_nanodollars: int
    simulated: bool
    set_by: SetBy
    by: str = ""  # who set it, where that is known
    warning: str = ""  # one plain sentence, from 80 % on


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
    keeps_state: bool = True  # whether a release would keep the variables, as things are now
    saved_nanodollars: int = 0  # what releasing has saved this kernel so far
    notice: str = ""  # one plain sentence about a loss, until the next cell has said it
    budget_nanodollars: int | None = None  # what this kernel may cost altogether; None: no limit
    spent_nanodollars: int = 0  # by all its leases so far, simulated ones too
    spent_simulated_nanodollars: int = 0  # the part of it that is simulated
    budget_warning: str = ""  # the first of the warnings of ``budgets``
    budgets: list[BudgetView] = Field(default_factory=list)  # all that apply to this kernel, the tightest first


class ScopeLimit(Document):
    """What one user may spend in one scope. The lower of the two limits holds."""

    scope: BudgetScope
    own_nanodollars: int | None = None  # set by the user; None: no limit
    admin_nanodollars: int | None = None  # set by an admin; its user cannot raise it
    limit_nanodollars: int | None = None  # what holds
    set_by: SetBy | None = None  # whose limit that is
    by: str = ""  # the name of who set it
    spent_nanodollars: int | None = None  # real money, as of now; None for a kernel's limit: it holds for each
    spent_simulated_nanodollars: int | None = None  # apart, and limited apart


class UserLimits(Document):
    """A user's budgets beside those of single kernels, in the order kernel, user, month."""

    user: str
    month: str  # the one that is counted now, UTC: "2026-11"
    limits: list[ScopeLimit]

    def of(self, scope: BudgetScope) -> ScopeLimit:
        return next(limit for limit in self.limits if limit.scope is scope)


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
