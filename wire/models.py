"""Documents that more than one part reads: GPUs, kernels, leases and bills as the API and the links show them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

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
    keep_extra_s: float = 0.0  # asked for while something runs: how much longer it is kept after that
    keeps_state: bool = True  # whether a release would keep the variables, as things are now
    saved_nanodollars: int = 0  # what releasing has saved this kernel so far, simulated dollars too
    saved_simulated_nanodollars: int = 0  # the part of it that is simulated
    notice: str = ""  # one plain sentence about a loss, until the next cell has said it
    budget_nanodollars: int | None = None  # what this kernel may cost altogether; None: no limit
    spent_nanodollars: int = 0  # by all its leases so far, simulated ones too
    spent_simulated_nanodollars: int = 0  # the part of it that is simulated
    budget_warning: str = ""  # the first of the warnings of ``budgets``
    draining: str = ""  # "gpu-1 is draining (asked by ann)" while its process or GPU is on such an agent
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


By = Literal["day", "gpu", "kernel", "notebook", "user"]
"""What a bill can be broken down by."""


class PhaseCosts(Document):
    """What a cost was for."""

    starting_nanodollars: int = 0
    busy_nanodollars: int = 0
    idle_nanodollars: int = 0


class BillGroup(Document):
    """A part of a bill. The groups of a bill add up to its totals, to the millisecond and the nano-dollar."""

    key: str  # a day (UTC), GPU model, kernel id, notebook's path ("": not known) or user's name
    user: str | None = None  # whose kernel or notebook it is; None for days and GPUs, which may be several users'
    starting_ms: int = 0
    busy_ms: int = 0
    idle_ms: int = 0
    cost_nanodollars: int = 0
    simulated_nanodollars: int = 0  # apart, never in the cost
    saved_nanodollars: int = 0  # by releasing
    saved_simulated_nanodollars: int = 0
    cost_by_phase: PhaseCosts = PhaseCosts()
    simulated_by_phase: PhaseCosts = PhaseCosts()


class BudgetLeft(Document):
    """What a kernel that has a budget may still cost."""

    kernel: str
    user: str
    budget_nanodollars: int
    spent_nanodollars: int  # simulated dollars too: they count against a budget
    spent_simulated_nanodollars: int
    left_nanodollars: int


class Bill(Document):
    currency: Literal["USD"] = "USD"
    as_of: str = ""  # UTC, ISO 8601: until when open leases are counted; "" from a broker that does not say
    total_nanodollars: int
    simulated_nanodollars: int  # apart, never in the total
    saved_nanodollars: int = 0  # what releasing has saved; in no total
    saved_simulated_nanodollars: int = 0
    leases: list[BillLine] = Field(default_factory=list)
    budgets: list[BudgetLeft] = Field(default_factory=list)  # as they are now, whatever the bill's period
    by: By | None = None
    groups: list[BillGroup] = Field(default_factory=list)  # of what ``by`` says

    @model_serializer(mode="wrap")
    def _without_groups_that_nobody_asked_for(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        if self.by is None:
            del document["by"], document["groups"]
        return document

    def of_kernels(self, kernel_ids: Collection[str]) -> Bill:
        """The part of it that these kernels have run up. A broker that was asked for it says the same again."""
        lines = [line for line in self.leases if line.kernel in kernel_ids]
        return self.model_copy(
            update={
                "total_nanodollars": sum(line.cost_nanodollars for line in lines if not line.simulated),
                "simulated_nanodollars": sum(line.cost_nanodollars for line in lines if line.simulated),
                "leases": lines,
                "budgets": [budget for budget in self.budgets if budget.kernel in kernel_ids],
            }
        )


class ReceiptLine(Document):
    """A lease as a notebook's file has it: whose it was, and which kernel's, stays out of files that are passed on."""

    id: str
    gpu: str
    count: int
    agent: str
    simulated: bool
    opened_at: str
    closed_at: str | None
    starting_ms: int
    busy_ms: int
    idle_ms: int
    price_microdollars_per_second: int
    cost_nanodollars: int


class ReceiptSeconds(Document):
    starting: float
    busy: float
    idle: float


class Receipt(Document):
    """What a notebook has cost, kept in its file: ``metadata.perijove`` of the notebook, or of one of its outputs.

    The totals are those of the bill for these leases. ``cost_nanodollars`` is one figure for both: real money, or
    simulated dollars where there was no other, and then ``simulated`` says so.
    """

    as_of: str = ""  # UTC; an open lease is counted until then
    gpu: str | None = None
    agent: str | None = None
    simulated: bool = False
    seconds: ReceiptSeconds
    currency: Literal["USD"] = "USD"
    cost_nanodollars: int
    total_nanodollars: int
    simulated_nanodollars: int
    saved_nanodollars: int = 0
    saved_simulated_nanodollars: int = 0
    leases: list[ReceiptLine] = Field(default_factory=list)

    @classmethod
    def of(cls, bill: Bill) -> Receipt:
        lines = [ReceiptLine.model_validate(line.model_dump()) for line in bill.leases]
        return cls.of_lines(lines, bill.as_of, bill.saved_nanodollars, bill.saved_simulated_nanodollars)

    @classmethod
    def of_lines(
        cls, lines: Sequence[ReceiptLine], as_of: str, saved_nanodollars: int = 0, saved_simulated_nanodollars: int = 0
    ) -> Receipt:
        real = sum(line.cost_nanodollars for line in lines if not line.simulated)
        simulated = sum(line.cost_nanodollars for line in lines if line.simulated)
        all_simulated = bool(lines) and all(line.simulated for line in lines)
        gpus = (line.gpu if line.count == 1 else f"{line.gpu}:{line.count}" for line in lines)
        return cls(
            as_of=as_of,
            gpu=", ".join(dict.fromkeys(gpus)) or None,
            agent=", ".join(dict.fromkeys(line.agent for line in lines)) or None,
            simulated=all_simulated,
            seconds=ReceiptSeconds(
                starting=sum(line.starting_ms for line in lines) / 1000,
                busy=sum(line.busy_ms for line in lines) / 1000,
                idle=sum(line.idle_ms for line in lines) / 1000,
            ),
            cost_nanodollars=simulated if all_simulated else real,
            total_nanodollars=real,
            simulated_nanodollars=simulated,
            saved_nanodollars=saved_nanodollars,
            saved_simulated_nanodollars=saved_simulated_nanodollars,
            leases=list(lines),
        )
