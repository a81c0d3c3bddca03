"""Prepaid shares by themselves: whatever leases do, grants alone never promise more than there is."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from perijove.broker.core.clock import BootMs, WallMs
from perijove.broker.core.meter import Durations, Meter
from perijove.broker.core.policy import Policy
from perijove.broker.core.prepaid import (
    cut_down,
    give_back,
    grant,
    is_promised_twice,
    least_slice_ms,
    most_slice_ms,
    runs_short,
)
from perijove.broker.core.purse import LimitRecord, Purse
from perijove.broker.core.records import Lease, LeaseRecord
from perijove.wire.models import BudgetScope, SetBy

POLICY = Policy()
H100, T4 = 1097, 164  # nano-dollars per millisecond
SECOND = 1_000
MONTH = BudgetScope.MONTH


def purse_with(nanodollars: int, scope: BudgetScope = MONTH) -> Purse:
    purse = Purse("ada", unheard_ms=POLICY.unheard_ms)
    purse.limits[scope, SetBy.USER] = LimitRecord("ada", scope, SetBy.USER, nanodollars)
    return purse


def opened(purse: Purse, price: int = H100, *, name: str = "") -> Lease:
    name = name or f"lease-{len(purse.leases)}"
    record = LeaseRecord(name, "kernel", "ada", "agent", "agent", "H100", 1, (), False, price, WallMs(1))
    lease = Lease(record, Meter(BootMs(0)), told_ms=0, goes_by_ms=0)
    purse.leases[name] = lease
    return lease


def runs(lease: Lease, ms: int) -> None:
    lease.meter.proven = Durations(busy_ms=lease.meter.proven.total_ms + ms)


def granted(lease: Lease, purse: Purse, kernel_limit_ms: int | None = None) -> int:
    limit_ms = grant(lease, purse, kernel_limit_ms, POLICY)
    assert limit_ms is not None
    return limit_ms


def test_with_plenty_a_lease_is_an_allowance_ahead_and_stops_for_no_money_that_is_there() -> None:
    purse = purse_with(10_000 * SECOND * H100)
    lease = opened(purse)
    assert granted(lease, purse) == most_slice_ms(POLICY) > POLICY.allowance_ms
    runs(lease, 5_000)
    assert granted(lease, purse) == 5_000 + most_slice_ms(POLICY)


def test_without_a_limit_there_is_none() -> None:
    purse = Purse("ada", unheard_ms=POLICY.unheard_ms)
    assert grant(opened(purse), purse, None, POLICY) is None
    assert grant(opened(purse), purse, 7_000, POLICY) == 7_000


def test_the_lowest_of_all_limits_holds() -> None:
    purse = purse_with(10_000 * SECOND * H100)
    purse.limits[BudgetScope.USER, SetBy.ADMIN] = LimitRecord("ada", BudgetScope.USER, SetBy.ADMIN, 5 * SECOND * H100)
    lease = opened(purse)
    assert granted(lease, purse) == 5_000
    assert granted(lease, purse, kernel_limit_ms=3_000) == 3_000


def test_what_gets_scarce_is_shared_by_time_whatever_a_gpu_costs() -> None:
    purse = purse_with(20 * SECOND * (H100 + T4))
    dear, cheap = opened(purse), opened(purse, T4)
    assert granted(dear, purse) == granted(cheap, purse) == 10_000


def test_half_is_kept_for_whoever_comes_next_until_only_renewals_are_left() -> None:
    purse = purse_with(40 * SECOND * H100)
    lease = opened(purse)
    assert granted(lease, purse) == 20_000
    runs(lease, 34_000)
    assert granted(lease, purse) == 40_000


def test_a_share_is_not_taken_away_for_a_newcomer() -> None:
    purse = purse_with(least_slice_ms(POLICY) * H100)
    first = opened(purse)
    assert granted(first, purse) == least_slice_ms(POLICY)
    assert granted(opened(purse), purse) == 0
    assert granted(first, purse) == least_slice_ms(POLICY)


def test_a_lowered_limit_is_cut_down_evenly_and_counts_as_granted_until_its_agent_says_so() -> None:
    purse = purse_with(1_000 * SECOND * H100)
    first, second = opened(purse), opened(purse)
    for lease in (first, second):
        granted(lease, purse)
    purse.limits[MONTH, SetBy.USER] = LimitRecord("ada", MONTH, SetBy.USER, 30 * SECOND * H100)
    assert is_promised_twice(purse, simulated=False)
    assert cut_down(purse, simulated=False) == [first, second]
    assert first.told_ms == second.told_ms == 15_000
    assert purse.may_still_cost(first) == most_slice_ms(POLICY) * H100
    first.limit_reported(15_000)
    assert purse.may_still_cost(first) == 15_000 * H100


def test_a_lease_of_an_earlier_broker_counts_with_all_that_it_may_run_unheard() -> None:
    purse = purse_with(100 * SECOND * H100)
    lease = opened(purse)
    lease.limit_found(None)
    assert purse.may_still_cost(lease) == POLICY.unheard_ms * H100
    assert granted(opened(purse), purse) == 100_000 - POLICY.unheard_ms


def test_who_has_much_gives_back_what_others_lack_and_it_is_theirs_once_its_agent_says_so() -> None:
    purse = purse_with(60 * SECOND * H100)
    first = opened(purse)
    assert granted(first, purse) == 30_000
    second = opened(purse)
    assert granted(second, purse) == 15_000
    runs(second, 15_000)
    assert granted(second, purse) == 26_250
    assert not runs_short(second, purse, POLICY)
    runs(second, 11_250)
    assert granted(second, purse) == 30_000, "all that is free, of the 33.75 s that are left"
    assert runs_short(second, purse, POLICY)
    assert give_back(first, purse, POLICY)
    assert first.told_ms == 33_750 // 2
    assert not give_back(first, purse, POLICY), "it is asked once"
    assert granted(second, purse) == 30_000
    assert first.limit_reported(33_750 // 2)
    assert granted(second, purse) == 26_250 + 33_750 // 4


@dataclass
class Run:
    purse: Purse
    all: list[Lease] = field(default_factory=list)

    def step(self, what: str, which: int, ms: int) -> None:
        leases = list(self.purse.leases.values())
        if what == "open" or not leases:
            lease = opened(self.purse, (H100, T4)[which % 2], name=f"lease-{len(self.all)}")
            self.all.append(lease)
            granted(lease, self.purse)
            return
        lease = leases[which % len(leases)]
        assert lease.told_ms is not None
        if what == "runs":
            runs(lease, min(ms, lease.told_ms - lease.meter.proven.total_ms))
        elif what == "renews":
            granted(lease, self.purse)
        else:
            cost = lease.record.cost_of(lease.meter.proven)
            self.purse.charge(lease.record, cost, cost)
            del self.purse.leases[lease.record.id]


steps = st.tuples(
    st.sampled_from(["open", "runs", "runs", "renews", "renews", "closes"]),
    st.integers(0, 100),
    st.sampled_from([1, 700, 5_000, 30_000, 65_000]),
)


@settings(max_examples=500)
@given(seconds=st.integers(0, 400), scope=st.sampled_from([MONTH, BudgetScope.USER]), history=st.lists(steps))
def test_grants_alone_never_promise_more_than_there_is(
    seconds: int, scope: BudgetScope, history: list[tuple[str, int, int]]
) -> None:
    run = Run(purse_with(seconds * SECOND * H100, scope))
    for step in history:
        told = {lease.record.id: lease.told_ms for lease in run.purse.leases.values()}
        run.step(*step)
        purse = run.purse
        spent, ahead = purse.spent(scope, simulated=False), purse.granted(simulated=False)
        assert spent + ahead <= seconds * SECOND * H100
        assert not is_promised_twice(purse, simulated=False)
        for lease in purse.leases.values():
            before = told.get(lease.record.id)
            assert before is None or (lease.told_ms is not None and lease.told_ms >= before), "a grant was taken back"
