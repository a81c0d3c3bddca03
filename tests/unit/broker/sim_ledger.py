"""What the books would hold, and what they would refuse."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from perijove.broker.core import instructions as do
from perijove.broker.core.clock import WALL_ZERO, BootMs, Now, WallMs
from perijove.broker.core.meter import DRIFT_PER_MILLION, SLACK_MS, Durations
from perijove.broker.core.purse import LimitRecord
from perijove.broker.core.records import DrainRecord, KernelRecord, LeaseRecord
from perijove.wire.models import BudgetScope, SetBy


@dataclass
class SimLedger:
    """What the books would hold."""

    open: dict[str, LeaseRecord] = field(default_factory=dict)
    closed: dict[str, tuple[LeaseRecord, Durations, bool]] = field(default_factory=dict)
    kernels: dict[str, KernelRecord] = field(default_factory=dict)
    drains: dict[str, DrainRecord] = field(default_factory=dict)
    limits: dict[tuple[str, BudgetScope, SetBy], LimitRecord] = field(default_factory=dict)
    month: WallMs = WALL_ZERO  # the newest that was opened
    before_month: dict[str, Durations] = field(default_factory=dict)  # by lease, what was proven of it by then
    opened: dict[str, BootMs] = field(default_factory=dict)

    def apply(self, instruction: do.LedgerInstruction, now: Now) -> None:
        match instruction:
            case do.OpenLease(lease):
                assert lease.id not in self.open
                assert lease.id not in self.closed, "a lease opened twice"
                for other in self.open.values():
                    if other.simulated == lease.simulated:
                        assert not set(other.gpus) & set(lease.gpus), "two open leases on one GPU"
                assert lease.opened_at > self.month, "a lease of a month that is over"
                self.open[lease.id] = lease
                self.opened[lease.id] = now.boot
            case do.RenewLease(lease_id, durations):
                assert durations.total_ms >= self.open[lease_id].durations.total_ms, "time went backwards"
                self.open[lease_id] = replace(self.open[lease_id], durations=durations)
            case do.CloseLease(lease_id, durations, _, confirmed):
                lease = self.open.pop(lease_id)
                self._check(lease, durations, now)
                self.closed[lease_id] = (lease, durations, confirmed)
            case do.AdjustLease(lease_id, durations):
                lease, before, confirmed = self.closed[lease_id]
                assert not confirmed, "a confirmed lease was adjusted"
                self.closed[lease_id] = (lease, max(before, durations, key=lambda d: d.total_ms), True)
            case do.OpenMonth(start, proven):
                self.open_month(start)
                assert proven == self.before_month
            case do.SaveLimit(limit):
                self.limits[limit.user, limit.scope, limit.set_by] = limit
            case do.ForgetLimit(user, scope, set_by):
                del self.limits[user, scope, set_by]
            case do.SaveKernel(kernel):
                self.kernels[kernel.id] = kernel
            case do.ForgetKernel(kernel_id):
                self.kernels.pop(kernel_id, None)
            case do.SaveDrain(drain):
                self.drains[drain.agent_id] = drain
            case do.ForgetDrain(agent_id):
                del self.drains[agent_id]

    def open_month(self, start: WallMs) -> None:
        assert start > self.month, "a month was opened twice"
        self.month = start
        self.before_month = {lease.id: lease.durations for lease in self.open.values()}
        self.before_month |= {lease.id: ran for lease, ran, confirmed in self.closed.values() if not confirmed}

    def _check(self, lease: LeaseRecord, durations: Durations, now: Now) -> None:
        seen = now.boot - self.opened[lease.id]
        most = seen + seen * DRIFT_PER_MILLION // 1_000_000 + SLACK_MS
        assert 0 <= durations.total_ms <= max(most, lease.durations.total_ms), "billed for more time than passed"

    def spent(self, kernel_id: str, *, closed_only: bool = False) -> tuple[int, int]:
        """What is proven of a kernel's leases, and the simulated part of it."""
        ran = [(lease, durations) for lease, durations, _ in self.closed.values()]
        if not closed_only:
            ran += [(lease, lease.durations) for lease in self.open.values()]
        costs = [
            (d.total_ms * lease.nanodollars_per_ms, lease.simulated) for lease, d in ran if lease.kernel_id == kernel_id
        ]
        return sum(cost for cost, _ in costs), sum(cost for cost, simulated in costs if simulated)

    def spent_by(self, user: str, scope: BudgetScope, *, simulated: bool = False, closed_only: bool = False) -> int:
        """What is proven of a user's leases in one kind of money; for a month: since the newest one was opened."""
        ran = [(lease, durations) for lease, durations, _ in self.closed.values()]
        if not closed_only:
            ran += [(lease, lease.durations) for lease in self.open.values()]
        spent = 0
        for lease, durations in ran:
            if lease.user != user or lease.simulated != simulated:
                continue
            if scope is BudgetScope.MONTH and lease.id in self.before_month:
                durations = durations.minus(self.before_month[lease.id])
            elif scope is BudgetScope.MONTH and lease.opened_at <= self.month:
                continue  # it was over by then
            spent += durations.total_ms * lease.nanodollars_per_ms
        return spent

    def total(self) -> int:
        return sum(
            durations.cost(lease.price_microdollars_per_second, lease.count)
            for lease, durations, _ in self.closed.values()
        )
