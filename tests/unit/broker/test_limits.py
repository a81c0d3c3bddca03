"""What a user may spend with all kernels, ever and in a month, step by step (docs/billing.md, "Budgets")."""

from __future__ import annotations

import pytest
from perijove.broker.core.calendar import month_after, month_of
from perijove.broker.core.clock import BootMs, Now, WallMs
from perijove.wire import link
from perijove.wire.models import BudgetScope, KernelState, SetBy

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World

H100_SECOND = 1097 * 1000  # nano-dollars
SCOPES = pytest.mark.parametrize("scope", [BudgetScope.USER, BudgetScope.MONTH])
MONTH, USER, KERNEL = BudgetScope.MONTH, BudgetScope.USER, BudgetScope.KERNEL


def world_with(agents: int = 2, *, simulated: bool = False, before_month_ends_ms: int | None = None) -> World:
    now = Now(BootMs(1_000_000), WallMs(1_800_000_000_000))
    if before_month_ends_ms is not None:
        now = Now(now.boot, WallMs(month_after(month_of(now.wall)) - before_month_ends_ms - 20_000))
    world = World(now=now)
    for number in range(agents):
        world.agent(f"a{number}", *make_gpus(f"a{number}", "H100", 1, simulated=simulated))
    world.advance(20_000)
    return world


def run_cells(world: World, *clients: SimClient) -> None:
    for client in clients:
        where(world, client).turn(client.kernel_id, busy=True)
    world.deliver_all()


def by_seconds(world: World, seconds: int) -> None:
    """Time passes, and limits are looked at each second."""
    for _ in range(seconds):
        world.advance(1_000)


def where(world: World, client: SimClient):
    return next(agent for agent in world.agents.values() if client.kernel_id in agent.processes)


def refused(world: World, client: SimClient) -> str:
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == "budget_exhausted", client.answers[asked]
    return client.answers[asked].message


def state(client: SimClient) -> KernelState:
    assert client.view is not None
    return client.view.state


@SCOPES
def test_two_kernels_on_two_agents_draw_on_one_budget(scope: BudgetScope) -> None:
    world = world_with()
    world.limit("ada", scope, 40 * H100_SECOND)
    first, second = world.attached(), world.attached()
    run_cells(world, first, second)
    world.advance(15_000)
    assert state(first) is state(second) is KernelState.ATTACHED
    world.advance(30_000)
    assert KernelState.ATTACHED not in (state(first), state(second))
    assert 39 * H100_SECOND <= world.ledger.total() <= 42 * H100_SECOND
    assert "is used up" in refused(world, first)
    other = world.attached(user="bob")
    assert state(other) is KernelState.ATTACHED, "somebody else's money is not touched"


def test_one_kernel_alone_may_spend_all_of_it() -> None:
    world = world_with()
    world.limit("ada", MONTH, 100 * H100_SECOND)
    client = world.attached()
    run_cells(world, client)
    world.advance(99_000)
    assert state(client) is KernelState.ATTACHED
    world.advance(3_000)
    assert state(client) is KernelState.DETACHED
    assert 100 * H100_SECOND <= world.ledger.total() <= 101 * H100_SECOND


def test_it_holds_while_the_broker_is_away_and_nothing_is_promised_twice() -> None:
    world = world_with(3)
    world.limit("ada", MONTH, 60 * H100_SECOND)
    clients = [world.attached() for _ in range(3)]
    run_cells(world, *clients)
    for agent in world.agents.values():
        agent.disconnect()
    world.advance(64_000, renewing=False)
    for agent in world.agents.values():
        agent.connect()
    world.advance(1)
    assert world.ledger.total() <= 63 * H100_SECOND


def test_a_restarted_broker_goes_on_with_what_agents_were_granted() -> None:
    world = world_with()
    world.limit("ada", MONTH, 100 * H100_SECOND)
    first, second = world.attached(), world.attached()
    run_cells(world, first, second)
    world.advance(20_000)
    world.restart_broker()
    for client in (first, second):
        client.open()
    world.agents["a0"].connect()
    world.advance(4_000)
    world.agents["a1"].connect()
    world.advance(20_000)
    assert state(first) is state(second) is KernelState.ATTACHED, "a restart takes nothing away"
    assert first.view is not None
    (budget,) = first.view.budgets
    assert (budget.scope, budget.limit_nanodollars) == (MONTH, 100 * H100_SECOND)
    assert 85 * H100_SECOND <= budget.spent_nanodollars <= 89 * H100_SECOND
    world.advance(20_000)
    assert 99 * H100_SECOND <= world.ledger.total() <= 102 * H100_SECOND


def test_what_a_vanished_agent_may_still_report_is_held_back_from_the_others() -> None:
    world = world_with()
    world.limit("ada", USER, 150 * H100_SECOND)
    lost, other = world.attached(), world.attached()
    run_cells(world, lost, other)
    agent = where(world, lost)
    world.advance(10_000)
    agent.crash()
    by_seconds(world, 140)
    assert state(other) is KernelState.DETACHED
    assert "held back for what an agent that is out of contact may still report" in refused(world, other)
    agent.connect()
    agent.renew()
    world.deliver_all()
    assert world.ledger.spent_by("ada", USER) <= 152 * H100_SECOND
    asked = world.attach(other)
    world.deliver_all()
    assert other.answers[asked].code == "", "what was not proven is there again"


def test_a_budget_set_while_kernels_run_holds_for_them_at_once() -> None:
    world = world_with()
    first, second = world.attached(), world.attached()
    run_cells(world, first, second)
    world.advance(100_000)
    spent = world.ledger.spent_by("ada", USER)
    world.limit("ada", USER, spent + 30 * H100_SECOND)
    world.advance(40_000)
    assert state(first) is state(second) is KernelState.DETACHED
    assert world.ledger.total() <= spent + 32 * H100_SECOND


def test_a_lowered_budget_is_cut_down_fairly_and_a_raised_one_goes_on() -> None:
    world = world_with()
    world.limit("ada", MONTH, 1000 * H100_SECOND)
    first, second = world.attached(), world.attached()
    run_cells(world, first, second)
    world.advance(50_000)
    world.limit("ada", MONTH, 130 * H100_SECOND)
    world.advance(12_000)
    assert state(first) is state(second) is KernelState.ATTACHED
    world.limit("ada", MONTH, 500 * H100_SECOND)
    world.advance(60_000)
    assert state(first) is state(second) is KernelState.ATTACHED
    world.limit("ada", MONTH, 0)
    world.advance(1)
    assert KernelState.ATTACHED not in (state(first), state(second))
    world.limit("ada", MONTH, None)
    assert first.view is not None
    assert not first.view.budgets
    asked = world.attach(first)
    world.deliver_all()
    assert first.answers[asked].code == ""


def test_the_lower_limit_holds_and_says_who_can_raise_it() -> None:
    world = world_with(1)
    client = world.kernel("H100")
    world.limit("ada", MONTH, 0)
    text = refused(world, client)
    assert text.startswith("your budget of $0.0000 for 2027-01 UTC (set by you) is used up")
    assert "`%gpu budget month AMOUNT` raises it" in text
    world.limit("ada", MONTH, 0, SetBy.ADMIN)
    text = refused(world, client)
    assert text.startswith("your budget of $0.0000 for 2027-01 UTC (set by root, an admin) is used up")
    assert "an admin can raise it: `perijove budget --for ada --month AMOUNT`" in text
    world.limit("ada", MONTH, 5 * H100_SECOND)
    assert "set by root" in refused(world, client)
    world.limit("ada", MONTH, 50 * H100_SECOND, SetBy.ADMIN)
    world.attach(client)
    world.deliver_all()
    assert client.view is not None
    assert [(b.limit_nanodollars, b.set_by) for b in client.view.budgets] == [(5 * H100_SECOND, SetBy.USER)]


def test_a_cap_holds_for_each_kernel_and_a_kernel_may_have_less() -> None:
    world = world_with()
    world.limit("ada", KERNEL, 10 * H100_SECOND, SetBy.ADMIN)
    free, thrifty = world.attached(budget=None), world.attached(budget=5 * H100_SECOND)
    world.advance(7_000)
    assert state(free) is KernelState.ATTACHED
    assert state(thrifty) is KernelState.SUSPENDED
    world.advance(5_000)
    assert state(free) is KernelState.SUSPENDED
    text = refused(world, free)
    assert text.startswith("this kernel's budget of $0.0110 (set by root, an admin) is used up")
    assert "`perijove budget --for ada --kernel AMOUNT`" in text
    free.ask(link.BudgetRequest, nanodollars=None)
    assert "set by root" in refused(world, free), "nobody removes what an admin set"


def test_simulated_money_never_eats_a_real_budget() -> None:
    world = world_with(1, simulated=True)
    world.limit("ada", MONTH, 20 * H100_SECOND)
    client = world.attached()
    run_cells(world, client)
    world.advance(25_000)
    text = refused(world, client)
    assert ", simulated)" in text
    assert client.view is not None
    spent = {budget.simulated: budget.spent_nanodollars for budget in client.view.budgets}
    assert spent[False] == 0
    assert 20 * H100_SECOND <= spent[True] <= 21 * H100_SECOND
    world.agent("real", *make_gpus("real", "H100", 1))
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == ""
    assert client.view is not None
    assert [budget.simulated for budget in client.view.budgets] == [False]


def test_each_budget_warns_once_at_four_fifths() -> None:
    world = world_with(1)
    world.limit("ada", MONTH, 100 * H100_SECOND)
    world.limit("ada", USER, 110 * H100_SECOND, SetBy.ADMIN)
    client = world.attached()
    run_cells(world, client)
    told: set[str] = set()

    def warnings() -> set[str]:
        assert client.view is not None
        return {budget.warning for budget in client.view.budgets} - {""}

    world.advance(79_900)
    assert not warnings()
    world.advance(200)
    told |= warnings()
    (text,) = told
    assert text.startswith("Over 80 % of your budget of $0.1097 for 2027-01 UTC (set by you) is spent")
    world.advance(9_000)
    (second,) = warnings() - told
    assert second.startswith(
        "Over 80 % of your budget of $0.1207 for all that you use (set by root, an admin) is spent"
    )


def test_the_other_kernels_spending_warns_too() -> None:
    world = world_with()
    world.limit("ada", MONTH, 100 * H100_SECOND)
    first, second = world.attached(), world.attached()
    run_cells(world, first, second)
    world.advance(40_300)
    assert first.view is not None
    assert "Over 80 %" in first.view.budget_warning


def test_who_waits_in_vain_waits_no_longer() -> None:
    world = world_with(1)
    world.limit("ada", MONTH, 30 * H100_SECOND)
    holder, waiting = world.attached(), world.kernel("H100")
    run_cells(world, holder)
    asked = world.attach(waiting)
    world.deliver_all()
    assert asked not in waiting.answers
    by_seconds(world, 31)
    assert waiting.answers[asked].code == "budget_exhausted"


def test_a_newcomer_gets_a_share_as_long_as_there_is_something_to_share() -> None:
    world = world_with(3)
    world.limit("ada", MONTH, 30 * H100_SECOND)
    clients = [world.attached() for _ in range(3)]
    run_cells(world, *clients)
    by_seconds(world, 6)
    assert all(state(client) is KernelState.ATTACHED for client in clients)
    by_seconds(world, 10)
    assert 28 * H100_SECOND <= world.ledger.total() <= 31 * H100_SECOND


def test_who_was_granted_much_while_there_was_plenty_gives_back_when_others_run_short() -> None:
    world = world_with(4)
    world.limit("ada", MONTH, 160 * H100_SECOND)
    clients = [world.attached()]
    world.advance(3_000)
    assert where(world, clients[0]).processes[clients[0].kernel_id].limit_ms >= 60_000
    clients += [world.attached() for _ in range(3)]
    run_cells(world, *clients)
    stopped: list[int] = []
    for second in range(60):
        stopped += [second] * (sum(state(client) is not KernelState.ATTACHED for client in clients) - len(stopped))
        world.advance(1_000)
    assert len(stopped) == 4
    assert max(stopped) - min(stopped) <= 8, "all have about the same time"
    assert 159 * H100_SECOND <= world.ledger.total() <= 164 * H100_SECOND


def test_what_an_agent_out_of_contact_was_granted_is_not_given_to_others() -> None:
    world = world_with(2)
    world.limit("ada", MONTH, 100 * H100_SECOND)
    first = world.attached()
    far = where(world, first)
    world.advance(1_000)
    far.disconnect()
    other = world.attached()
    run_cells(world, other)
    world.advance(55_000, renewing=False)
    for agent in world.agents.values():
        agent.connect()
    world.deliver_all()
    by_seconds(world, 60)
    assert world.ledger.total() <= 102 * H100_SECOND


# months ---------------------------------------------------------------------------------------------------------------


def test_a_new_month_has_a_new_budget_and_the_old_one_keeps_what_was_proven() -> None:
    world = world_with(1, before_month_ends_ms=30_000)
    world.limit("ada", MONTH, 40 * H100_SECOND)
    client = world.attached()
    run_cells(world, client)
    world.advance(29_000)
    old = world.ledger.spent_by("ada", MONTH)
    assert 24 * H100_SECOND <= old <= 29 * H100_SECOND
    world.advance(2_000)
    assert world.ledger.month == month_of(world.now.wall)
    world.advance(30_000)
    assert state(client) is KernelState.ATTACHED, "61 s in two months"
    world.advance(15_000)
    assert state(client) is KernelState.DETACHED
    assert world.ledger.spent_by("ada", MONTH) <= 41 * H100_SECOND
    assert world.ledger.total() == old + world.ledger.spent_by("ada", MONTH)


def test_a_clock_that_steps_opens_no_month_and_none_twice() -> None:
    world = world_with(1, before_month_ends_ms=100_000)
    month = world.ledger.month
    world.limit("ada", MONTH, 50 * H100_SECOND)
    client = world.attached()
    run_cells(world, client)
    world.advance(10_000)
    world.clock_steps(24 * 3_600_000)
    world.advance(10_000)
    assert world.ledger.month == month, "a step is not believed at once"
    world.clock_steps(-24 * 3_600_000)
    world.advance(85_000)
    assert world.ledger.month != month
    world.clock_steps(-3_600_000)
    world.restart_broker()
    client.open()
    world.agents["a0"].connect()
    world.advance(5_000)
    assert client.view is not None
    (budget,) = client.view.budgets
    assert budget.spent_nanodollars == world.ledger.spent_by("ada", MONTH)
    world.clock_steps(3_600_000)
    world.advance(5_000)
    assert world.ledger.month != month


def test_a_step_that_lasts_is_believed() -> None:
    world = world_with(1)
    month = world.ledger.month
    world.clock_steps(40 * 24 * 3_600_000)
    world.kernel("H100")
    world.advance(3_700_000)
    assert world.ledger.month == month_after(month)


def test_late_proof_counts_for_the_month_in_which_it_comes() -> None:
    world = world_with(1, before_month_ends_ms=100_000)
    world.limit("ada", MONTH, 300 * H100_SECOND)
    client = world.attached()
    run_cells(world, client)
    agent = where(world, client)
    world.advance(10_000)
    agent.disconnect()
    world.advance(95_000)
    assert world.ledger.spent_by("ada", MONTH) == 0
    agent.connect()
    agent.renew()
    world.deliver_all()
    late = world.ledger.spent_by("ada", MONTH)
    assert 49 * H100_SECOND <= late <= 66 * H100_SECOND
    client.open()
    assert client.view is not None
    assert [budget.spent_nanodollars for budget in client.view.budgets] == [late]


def test_a_restarted_broker_holds_back_what_a_vanished_agent_may_still_report() -> None:
    world = world_with()
    world.limit("ada", USER, 150 * H100_SECOND)
    lost, other = world.attached(), world.kernel("H100")
    run_cells(world, lost)
    agent = where(world, lost)
    world.advance(10_000)
    agent.disconnect()
    world.advance(66_000)
    world.restart_broker()
    other.open()
    next(a for a in world.agents.values() if a is not agent).connect()
    world.attach(other)
    world.deliver_all()
    by_seconds(world, 80)
    assert "held back" in refused(world, other)
    agent.connect()
    agent.renew()
    world.deliver_all()
    assert 69 * H100_SECOND <= world.ledger.spent_by("ada", USER) <= 152 * H100_SECOND
