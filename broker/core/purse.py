"""The money of one user: what limits it, what is spent, what open leases were granted, what is held back.

Real and simulated money are counted apart, and the same limit holds for each, so that trying things out on simulated
GPUs never eats a real budget. Whole nano-dollars, by the same proof as every bill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...wire.states import BudgetScope, SetBy
from .calendar import month_name
from .clock import BOOT_ZERO, WALL_ZERO, BootMs, WallMs

if TYPE_CHECKING:
    from .records import Lease, LeaseRecord

SHARED_SCOPES = (BudgetScope.USER, BudgetScope.MONTH)


@dataclass(frozen=True, slots=True)
class LimitRecord:
    """A limit of a user's, as the ledger keeps it."""

    user: str
    scope: BudgetScope
    set_by: SetBy
    nanodollars: int
    by: str = ""  # the name of who set it
    at: WallMs = WALL_ZERO


@dataclass(slots=True)
class Tally:
    """What closed leases have cost, in one kind of money."""

    ever: int = 0
    month: int = 0  # the part that was proven since the open month began

    def of(self, scope: BudgetScope) -> int:
        return self.month if scope is BudgetScope.MONTH else self.ever


@dataclass(frozen=True, slots=True)
class HeldBack:
    nanodollars: int
    simulated: bool


@dataclass(slots=True)
class Purse:
    user: str = ""
    month: WallMs = WALL_ZERO  # when the open month began
    unheard_ms: int = 0  # for how long a lease may run beyond its last report, whatever it was granted
    limits: dict[tuple[BudgetScope, SetBy], LimitRecord] = field(default_factory=dict)
    real: Tally = field(default_factory=Tally)
    simulated: Tally = field(default_factory=Tally)
    leases: dict[str, Lease] = field(default_factory=dict)  # those that are open
    held_back: dict[str, HeldBack] = field(default_factory=dict)  # by lease: closed, and its agent may prove more

    # limits -----------------------------------------------------------------------------------------------------

    def limit(self, scope: BudgetScope) -> LimitRecord | None:
        """The lower one of what the user and what an admin set; the admin's where both are the same."""
        found = [limit for by in (SetBy.ADMIN, SetBy.USER) if (limit := self.limits.get((scope, by))) is not None]
        return min(found, key=lambda limit: limit.nanodollars, default=None)

    @property
    def shared_limits(self) -> list[LimitRecord]:
        """Those on which all of the user's kernels draw."""
        return [limit for scope in SHARED_SCOPES if (limit := self.limit(scope)) is not None]

    @property
    def month_name(self) -> str:
        return month_name(self.month)

    # what is spent ----------------------------------------------------------------------------------------------

    def tally(self, *, simulated: bool) -> Tally:
        return self.simulated if simulated else self.real

    def charge(self, lease: LeaseRecord, cost: int, in_month: int) -> None:
        """A lease is closed, or more of a closed one was proven."""
        tally = self.tally(simulated=lease.simulated)
        tally.ever += cost
        tally.month += in_month

    def open_leases(self, *, simulated: bool) -> list[Lease]:
        return [lease for lease in self.leases.values() if lease.record.simulated == simulated]

    def spent_at(self, scope: BudgetScope, now: BootMs, *, simulated: bool) -> int:
        """As people are shown it, and as the bill says at that moment."""
        running = sum(
            lease.record.cost_of(lease.meter.at(now), scope) for lease in self.open_leases(simulated=simulated)
        )
        return self.tally(simulated=simulated).of(scope) + running

    def spent(self, scope: BudgetScope, *, simulated: bool) -> int:
        """By proof."""
        running = sum(
            lease.record.cost_of(lease.meter.proven, scope) for lease in self.open_leases(simulated=simulated)
        )
        return self.tally(simulated=simulated).of(scope) + running

    # what may still be spent ------------------------------------------------------------------------------------

    def held(self, *, simulated: bool) -> int:
        return sum(held.nanodollars for held in self.held_back.values() if held.simulated == simulated)

    def left(self, limit: LimitRecord, *, simulated: bool) -> int:
        """What open leases and new ones may still cost from now on; negative when more was spent."""
        spent = self.spent(limit.scope, simulated=simulated)
        return limit.nanodollars - spent - self.held(simulated=simulated)

    def granted(self, *, simulated: bool, beside: Lease | None = None) -> int:
        """What open leases may still cost on what their agents were told, but for one of them."""
        leases = self.open_leases(simulated=simulated)
        return sum(self.may_still_cost(lease) for lease in leases if lease is not beside)

    def may_still_cost(self, lease: Lease) -> int:
        """What one lease may cost beyond what it has proven: its agent goes by the latest limit it has heard of, and
        stops at the end of its allowance if it hears nothing more."""
        ahead_ms = self.unheard_ms
        if lease.goes_by_ms is not None:
            ahead_ms = min(ahead_ms, max(0, lease.goes_by_ms - lease.meter.proven.total_ms))
        return ahead_ms * lease.record.nanodollars_per_ms

    def rate(self, *, simulated: bool) -> int:
        """What a millisecond of all open leases costs."""
        return sum(lease.record.nanodollars_per_ms for lease in self.open_leases(simulated=simulated))

    def runs_up_by(self, nanodollars: int, now: BootMs, *, simulated: bool) -> BootMs | None:
        """When so much more is spent if all open leases just run on; None where nothing runs."""
        running = [lease for lease in self.open_leases(simulated=simulated) if lease.meter.running]
        rate = sum(lease.record.nanodollars_per_ms for lease in running)
        if rate == 0:
            return None
        ahead = max((lease.meter.shown_at for lease in running), default=BOOT_ZERO)
        return BootMs(max(now, ahead) - (-nanodollars // rate))
