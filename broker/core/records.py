"""What the core knows: kernels, leases and agents while it runs, and the plain records of them kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ...wire.control import Hello
from ...wire.gpu_spec import GpuSpec
from ...wire.models import BudgetScope, Gpu, KernelState
from ...wire.versions import LIMITS_TOLD_SINCE_MINOR
from .account import Account
from .clock import BOOT_ZERO, BootMs, Now, WallMs
from .meter import NOTHING, Durations, Meter
from .purse import LimitRecord, Purse

Question = Literal["bind", "release", "restart", "end"]


@dataclass(frozen=True, slots=True)
class KernelRecord:
    """A kernel as the ledger keeps it, so that a restarted broker knows it."""

    id: str
    user: str
    name: str
    spec: str
    state: KernelState
    created_at: WallMs
    idle_timeout_ms: int | None = None
    incarnation: str | None = None
    agent_id: str | None = None
    agent_name: str = ""
    keepable: bool = True
    notice: str = ""
    budget_nanodollars: int | None = None
    notebook: str = ""
    kept_until: WallMs | None = None
    keep_extra_ms: int = 0


@dataclass(frozen=True, slots=True)
class DrainRecord:
    """An agent that is to take no new leases, as the ledger keeps it: until somebody undoes it."""

    agent_id: str
    agent_name: str
    asked_by: str
    asked_at: WallMs
    release_at: WallMs | None = None  # what still runs then is released


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as the ledger keeps it."""

    id: str
    kernel_id: str
    user: str
    agent_id: str
    agent_name: str
    model: str  # "cpu" where there is no GPU
    count: int
    gpus: tuple[str, ...]
    simulated: bool
    price_microdollars_per_second: int
    opened_at: WallMs
    durations: Durations = NOTHING
    notebook: str = ""  # the kernel's, when the lease was opened
    before_month: Durations = NOTHING  # the part that was proven before the open month began

    @property
    def nanodollars_per_ms(self) -> int:
        return self.price_microdollars_per_second * self.count

    def cost_of(self, durations: Durations, scope: BudgetScope = BudgetScope.USER) -> int:
        """What it costs when it has run for so long, as a budget of this scope counts it."""
        counted = durations.minus(self.before_month) if scope is BudgetScope.MONTH else durations
        return counted.cost(self.price_microdollars_per_second, self.count)


@dataclass(frozen=True, slots=True)
class MoneyRecord:
    """What the ledger knows of users' money when a broker starts. Costs are of closed leases, in nano-dollars."""

    kernels: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # by kernel: all, and the simulated part
    ever: Mapping[tuple[str, bool], int] = field(default_factory=dict)  # by user and whether it is simulated
    month: Mapping[tuple[str, bool], int] = field(default_factory=dict)  # proven since the open month began
    month_began: WallMs | None = None  # None: no month was opened yet
    limits: Sequence[LimitRecord] = ()


@dataclass(frozen=True, slots=True)
class KernelsSavings:
    """What the ledger knows of a kernel's gaps: those that are over, and the lease that the present one follows."""

    saved: int
    saved_simulated: int
    last: LeaseRecord | None  # None while one is open
    closed_at: WallMs  # when it was closed


@dataclass(slots=True)
class Lease:
    """An open lease, and how long it may run altogether: as its agent was told last, and at most as it may go by.

    None is no limit; that is also what is assumed of a lease that was opened by an earlier broker.
    """

    record: LeaseRecord
    meter: Meter
    told_ms: int | None = None
    goes_by_ms: int | None = None

    def cost_at(self, now: BootMs) -> int:
        return self.record.cost_of(self.meter.at(now))

    def month_begins(self) -> None:
        self.record = replace(self.record, before_month=self.meter.proven)

    def tell_limit(self, limit_ms: int | None) -> None:
        """Its agent will be told; until it says so, it may go by what it was told before."""
        self.told_ms = limit_ms
        if self.goes_by_ms is not None:
            self.goes_by_ms = None if limit_ms is None else max(self.goes_by_ms, limit_ms)

    def limit_reported(self, limit_ms: int | None) -> bool:
        """Its agent says what it goes by, which is sure once that is what it was told last; whether that is news."""
        if limit_ms != self.told_ms or limit_ms == self.goes_by_ms:
            return False
        self.goes_by_ms = limit_ms
        return True

    def limit_found(self, limit_ms: int | None) -> None:
        """Its agent has connected anew: nothing is under way to it, and what it says is what there is."""
        self.told_ms = self.goes_by_ms = limit_ms


@dataclass(frozen=True, slots=True)
class Gap:
    """The time that a kernel has held no GPU since its last lease."""

    lease: LeaseRecord
    since: BootMs

    def ms_at(self, now: BootMs) -> int:
        return max(0, now - self.since)


@dataclass(slots=True)
class Savings:
    """What releasing has saved a kernel: each gap between two leases at the price of the first, and the gap it is in.

    Like costs they are never stored: the ledger keeps how long each gap was.
    """

    saved: int = 0  # by gaps that are over, nano-dollars
    saved_simulated: int = 0  # the part of it that is simulated
    gap: Gap | None = None  # while it holds none; None before its first lease

    def at(self, now: BootMs) -> int:
        return self.saved + self._running(now)

    def simulated_at(self, now: BootMs) -> int:
        simulated = self.gap is not None and self.gap.lease.simulated
        return self.saved_simulated + (self._running(now) if simulated else 0)

    def _running(self, now: BootMs) -> int:
        return 0 if self.gap is None else self.gap.ms_at(now) * self.gap.lease.nanodollars_per_ms

    def end_gap(self, now: BootMs) -> None:
        """The kernel has a lease again."""
        self.saved, self.saved_simulated, self.gap = self.at(now), self.simulated_at(now), None


@dataclass(frozen=True, slots=True)
class Pending:
    """A question that an agent has not answered yet."""

    question: Question
    request_id: str
    deadline: BootMs


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain that holds now. ``record`` is None for one that the agent itself has asked for: it ends with it."""

    agent_name: str
    asked_by: str
    record: DrainRecord | None = None
    release_at: BootMs | None = None

    def __str__(self) -> str:
        return f"{self.agent_name} is draining (asked by {self.asked_by})"


@dataclass(slots=True)
class Agent:
    """One agent, connected (``link_id``) or away since ``lost_at``."""

    id: str
    name: str
    owner: str  # the token its control link came with; its data links must come with the same
    link_id: str | None = None
    lost_at: BootMs | None = None
    gpus: dict[str, Gpu] = field(default_factory=dict)
    spares: int = 0
    version: str = ""
    python: str = ""
    isolated: bool = False
    draining: bool = False  # it wants no new leases, by its own word
    tells_limits: bool = True  # its reports say which limits it goes by
    caught_up: bool = False  # what it had kept while it was out of contact has been said

    def hello(self, hello: Hello) -> None:
        self.name, self.version, self.python, self.spares = hello.name, hello.version, hello.python, hello.spares
        self.isolated, self.draining, self.caught_up = hello.isolated, hello.draining, False
        self.tells_limits = hello.protocol.minor >= LIMITS_TOLD_SINCE_MINOR
        self.gpus = {gpu.uuid: gpu for gpu in hello.gpus}


@dataclass(slots=True)
class Kernel:
    """One kernel. ``lifecycle`` alone changes ``state``."""

    id: str
    user: str
    name: str
    spec: GpuSpec
    created_at: WallMs
    state: KernelState = KernelState.DETACHED
    own_timeout_ms: int | None = None
    notebook: str = ""  # the path of the notebook it belongs to, as far as anybody has said

    # the process
    incarnation: str | None = None
    lost_incarnation: str | None = None  # the process before, of which an explanation may still come
    agent_id: str | None = None  # where the process is, or the GPU that is held for it
    agent_name: str = ""
    lease: Lease | None = None
    drain: Drain | None = None  # of that agent
    account: Account = field(default_factory=Account)
    purse: Purse = field(default_factory=Purse)  # of its user
    busy: bool = False
    keepable: bool = True
    quiet_since: BootMs | None = None
    active_at: BootMs = BOOT_ZERO  # when something was last asked of it

    # the client
    link_id: str | None = None
    session: str = ""  # of the latest client that named one
    away_since: BootMs | None = None
    local_busy_since: BootMs | None = None

    # what was asked for and is not done yet
    attaches: list[str] = field(default_factory=list)  # request ids
    releases: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    release_wish: Literal["idle", "keep", "end"] | None = None
    restart_wish: bool = False
    respec_wish: Literal["keep", "end"] | None = None  # the lease is not of the spec: it ends, so may the process
    spec_before: GpuSpec | None = None  # the spec that was met last, while a new one is not
    pending: Pending | None = None
    asked_at: BootMs = BOOT_ZERO
    queue_abandoned_at: BootMs | None = None  # nobody waits for the place in the queue: until when it is kept
    refused_by: set[str] = field(default_factory=set)
    last_refusal: str = ""
    binds_tried: int = 0
    queue_reason: str = ""
    kept_until: BootMs | None = None  # the GPU does not go back by idleness before
    kept_until_wall: WallMs | None = None  # the same, for the ledger
    keep_extra_ms: int = 0  # asked for while something ran: from its end on, beyond the idle timeout
    last_keep: str = ""  # the id of that request: it counts once

    # for people
    notice: str = ""
    release_reason: str = ""
    savings: Savings = field(default_factory=Savings)

    @property
    def ended(self) -> bool:
        return self.state is KernelState.TERMINATED

    def keep_until(self, moment: BootMs, now: Now) -> None:
        self.kept_until, self.kept_until_wall = moment, now.wall_at(moment)

    def keep_no_longer(self) -> None:
        self.kept_until, self.kept_until_wall, self.keep_extra_ms = None, None, 0

    def to_record(self) -> KernelRecord:
        return KernelRecord(
            id=self.id,
            user=self.user,
            name=self.name,
            spec=str(self.spec),
            state=self.state,
            created_at=self.created_at,
            idle_timeout_ms=self.own_timeout_ms,
            incarnation=self.incarnation,
            agent_id=self.agent_id,
            agent_name=self.agent_name,
            keepable=self.keepable,
            notice=self.notice,
            budget_nanodollars=self.account.budget,
            notebook=self.notebook,
            kept_until=self.kept_until_wall,
            keep_extra_ms=self.keep_extra_ms,
        )
