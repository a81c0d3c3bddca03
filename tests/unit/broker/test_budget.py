"""What a kernel may cost, step by step, with a fake clock and network (docs/billing.md, Budgets)."""

from __future__ import annotations

from perijove.broker.core.policy import Policy
from perijove.wire import control, link
from perijove.wire.models import KernelState

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World

H100_SECOND = 1097 * 1000  # nano-dollars


def world_with(count: int = 1, *, simulated: bool = False, policy: Policy | None = None) -> World:
    world = World(policy)
    world.agent("a", *make_gpus("a", "H100", count, simulated=simulated))
    world.advance(20_000)
    return world


def busy(world: World, client: SimClient) -> None:
    world.agents["a"].turn(client.kernel_id, busy=True)
    world.deliver_all()


def attach_is_refused(world: World, client: SimClient) -> str:
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == "budget_exhausted"
    return client.answers[asked].message


def set_budget(world: World, client: SimClient, nanodollars: int | None) -> None:
    asked = client.ask(link.BudgetRequest, nanodollars=nanodollars)
    assert client.answers[asked].code == ""
    world.deliver_all()


def warnings(client: SimClient) -> set[str]:
    told = {m.kernel.budget_warning for m in client.heard if isinstance(m, link.LinkWelcome | link.State)}
    return told - {""}


def test_a_lease_may_run_for_as_long_as_the_budget_pays() -> None:
    world = world_with()
    client = world.attached(budget=10 * H100_SECOND)
    busy(world, client)
    world.advance(9_000)
    assert client.view is not None
    assert client.view.state is KernelState.ATTACHED
    world.advance(1_500)
    assert client.view.state is KernelState.DETACHED
    assert 10 * H100_SECOND <= client.view.spent_nanodollars <= 11 * H100_SECOND
    assert client.view.spent_nanodollars == world.ledger.total()
    text = attach_is_refused(world, client)
    assert text.startswith("this kernel's budget of $0.0110 is used up ($0.01")
    assert "`%gpu budget AMOUNT` raises it" in text


def test_an_idle_kernel_is_suspended_and_a_higher_budget_resumes_it() -> None:
    world = world_with()
    client = world.attached(budget=10 * H100_SECOND)
    world.advance(11_000)
    assert client.view is not None
    assert client.view.state is KernelState.SUSPENDED
    attach_is_refused(world, client)
    set_budget(world, client, 20 * H100_SECOND)
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == ""
    world.advance(30_000)
    assert world.ledger.total() <= 21 * H100_SECOND


def test_the_budget_is_enforced_while_the_broker_is_away() -> None:
    world = world_with()
    client = world.attached(budget=10 * H100_SECOND)
    busy(world, client)
    world.agents["a"].disconnect()
    world.advance(30_000, renewing=False)
    world.agents["a"].connect()
    world.deliver_all()
    assert client.view is not None
    assert client.view.state is KernelState.DETACHED
    assert 10 * H100_SECOND <= world.ledger.total() <= 11 * H100_SECOND


def test_its_user_is_warned_once_at_four_fifths() -> None:
    world = world_with(simulated=True)
    client = world.attached(budget=100 * H100_SECOND)
    busy(world, client)
    world.advance(79_900)
    assert not warnings(client)
    world.advance(200)
    (text,) = warnings(client)
    assert text.startswith("Over 80 % of this kernel's budget of $0.1097 (simulated) is spent")
    world.advance(10_000)
    assert warnings(client) == {text}


def test_a_budget_set_lower_than_what_was_spent_ends_the_lease_at_once() -> None:
    world = world_with()
    client = world.attached()
    world.advance(50_000)
    set_budget(world, client, 10 * H100_SECOND)
    world.advance(1)
    assert client.view is not None
    assert client.view.state is KernelState.SUSPENDED
    assert world.ledger.total() >= 50 * H100_SECOND, "what was used is billed"
    set_budget(world, client, None)
    world.attach(client)
    world.deliver_all()
    assert client.view.state is KernelState.ATTACHED


def test_what_does_not_pay_for_a_second_opens_no_lease() -> None:
    world = world_with()
    client = world.kernel("H100", budget=H100_SECOND - 1)
    text = attach_is_refused(world, client)
    assert "does not pay for one second of H100 at $0.0011" in text
    assert not world.ledger.closed
    dearer = world_with(2)
    pair = dearer.kernel("H100:2", budget=H100_SECOND)
    assert "one second of 2 × H100" in attach_is_refused(dearer, pair)


def test_a_gpu_that_is_refused_for_want_of_money_goes_to_the_next_in_line() -> None:
    world = world_with()
    holder = world.attached()
    poor, next_one = world.kernel("H100", budget=H100_SECOND - 1), world.kernel("H100")
    refused = world.attach(poor)
    world.advance(10)
    asked = world.attach(next_one)
    holder.ask(link.ReleaseRequest)
    world.deliver_all()
    assert poor.answers[refused].code == "budget_exhausted"
    assert next_one.answers[asked].code == ""


def test_who_waits_and_cannot_pay_any_more_waits_no_longer() -> None:
    world = world_with()
    world.attached()
    waiting = world.kernel("H100")
    asked = world.attach(waiting)
    set_budget(world, waiting, 0)
    assert waiting.answers[asked].code == "budget_exhausted"


def test_a_restarted_broker_knows_what_was_spent() -> None:
    world = world_with()
    client = world.attached(budget=60 * H100_SECOND)
    world.advance(20_000)
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    spent = world.ledger.total()
    world.restart_broker()
    client.open()
    assert client.view is not None
    assert (client.view.spent_nanodollars, client.view.budget_nanodollars) == (spent, 60 * H100_SECOND)
    world.agents["a"].connect()
    world.attach(client)
    world.deliver_all()
    world.advance(59_000)
    assert world.ledger.total() <= 61 * H100_SECOND


def test_what_a_vanished_agent_may_still_report_is_held_back_until_it_is_back() -> None:
    world = world_with()
    world.agent("b", *make_gpus("b", "H100", 1))
    client = world.attached(budget=70 * H100_SECOND)
    where = next(agent for agent in world.agents.values() if client.kernel_id in agent.processes)
    where.turn(client.kernel_id, busy=True)
    world.advance(10_000)
    where.disconnect()
    world.advance(66_000)
    assert "held back" in attach_is_refused(world, client)
    where.connect()
    world.deliver_all()
    asked = world.attach(client)
    world.deliver_all()
    proven = world.ledger.spent(client.kernel_id, closed_only=True)[0]
    assert client.answers[asked].code == ("" if proven <= 69 * H100_SECOND else "budget_exhausted")
    where.renew()
    world.advance(60_000)
    assert world.ledger.total() <= 71 * H100_SECOND


def test_an_agent_that_comes_back_without_a_word_frees_what_was_held_back() -> None:
    world = world_with()
    client = world.attached(budget=70 * H100_SECOND)
    world.advance(10_000)
    world.agents["a"].crash()
    world.agents["a"].connect()
    assert "held back" in attach_is_refused(world, client)
    world.agents["a"].renew()
    world.deliver_all()
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == ""


def test_a_renewal_says_the_limit_anew() -> None:
    world = world_with()
    client = world.attached(budget=100 * H100_SECOND)
    agent = world.agents["a"]
    assert agent.processes[client.kernel_id].limit_ms == 100_000
    client.ask(link.BudgetRequest, nanodollars=None)
    agent.inbox.clear()  # lost
    agent.renew()
    world.deliver_all()
    assert agent.processes[client.kernel_id].limit_ms is None


def test_simulated_money_is_told_apart_in_what_was_spent() -> None:
    world = world_with(simulated=True)
    client = world.attached(budget=5 * H100_SECOND)
    world.advance(6_000)
    assert client.view is not None
    assert client.view.spent_simulated_nanodollars == client.view.spent_nanodollars > 0
    assert ", simulated)" in attach_is_refused(world, client)


def test_a_limit_is_told_of_the_lease_it_is_for() -> None:
    world = world_with()
    client = world.attached()
    set_budget(world, client, 30 * H100_SECOND)
    process = world.agents["a"].processes[client.kernel_id]
    assert process.limit_ms == 30_000
    stale = control.Limit(kernel_id=client.kernel_id, lease_id="another", limit_ms=1)
    world.agents["a"].inbox.append(stale)
    world.deliver_all()
    assert process.limit_ms == 30_000
