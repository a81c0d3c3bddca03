"""What happens to a kernel, told step by step, with a fake clock and network (docs/lifecycle.md)."""

from __future__ import annotations

from dataclasses import replace

from perijove.broker.core.policy import Policy
from perijove.wire import control, link
from perijove.wire.models import KernelState

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World


def world_with(*gpus: int, policy: Policy | None = None) -> World:
    """Agents a, b, … with so many H100s each."""
    world = World(policy)
    for name, count in zip("abc", gpus, strict=False):
        world.agent(name, *make_gpus(name, "H100", count))
    world.advance(20_000)
    return world


def state_of(client: SimClient) -> KernelState:
    assert client.view is not None
    return client.view.state


def bill_of(world: World) -> int:
    return world.ledger.total()


def test_opening_and_reading_costs_nothing() -> None:
    world = world_with(1)
    client = world.kernel("H100")
    world.advance(3_600_000)
    assert state_of(client) is KernelState.DETACHED
    assert not world.ledger.open
    assert not world.ledger.closed


def test_idle_for_a_minute_then_released_with_its_variables_and_resumed_in_the_same_process() -> None:
    world = world_with(1)
    client = world.attached()
    assert client.view is not None
    incarnation = client.view.incarnation
    world.advance(59_000)
    assert state_of(client) is KernelState.ATTACHED
    world.advance(2_000)
    assert state_of(client) is KernelState.SUSPENDED
    assert 59_000 * 1097 <= bill_of(world) <= 61_000 * 1097
    world.attach(client)
    world.deliver_all()
    assert client.view.incarnation == incarnation
    assert client.view.saved_nanodollars > 0


def test_ten_minutes_where_variables_would_be_lost_and_the_loss_is_told() -> None:
    world = world_with(1)
    client = world.attached()
    agent = world.agents["a"]
    agent.processes[client.kernel_id].keepable = False
    agent.turn(client.kernel_id, busy=False)
    world.deliver_all()
    assert client.view is not None
    assert not client.view.keeps_state
    assert client.view.idle_timeout_s == 600
    world.advance(590_000)
    assert state_of(client) is KernelState.ATTACHED
    world.advance(11_000)
    assert state_of(client) is KernelState.DETACHED
    assert client.view.notice.startswith("The GPU on a was released and the variables there are lost")


def test_a_running_cell_outlives_its_notebook_and_then_the_kernel_is_released() -> None:
    world = world_with(1)
    client = world.attached()
    world.agents["a"].turn(client.kernel_id, busy=True)
    world.deliver_all()
    client.close()
    world.advance(3_600_000)
    assert client.kernel_id in world.agents["a"].processes
    assert world.ledger.open, "a silent client never ends a busy lease"
    world.agents["a"].turn(client.kernel_id, busy=False)
    world.deliver_all()
    world.advance(16_000)
    assert not world.ledger.open


def test_an_agent_out_of_contact_is_billed_to_its_last_renewal_and_proves_the_rest_later() -> None:
    world = world_with(1)
    client = world.attached()
    world.agents["a"].turn(client.kernel_id, busy=True)
    world.advance(10_000)
    proved = next(iter(world.ledger.open.values())).durations.total_ms
    world.agents["a"].disconnect()
    world.advance(66_000)
    assert state_of(client) is KernelState.DETACHED
    assert client.view is not None
    assert "out of contact" in client.view.notice
    assert bill_of(world) == proved * 1097
    world.agents["a"].connect()
    world.deliver_all()
    assert bill_of(world) > proved * 1097, "until its allowance was used up"
    assert bill_of(world) <= (proved + 66_000) * 1097


def test_a_short_cut_changes_nothing() -> None:
    world = world_with(1)
    client = world.attached()
    before = client.view
    assert before is not None
    world.agents["a"].disconnect()
    world.advance(20_000)
    world.agents["a"].connect()
    world.deliver_all()
    assert client.view is not None
    assert client.view.lease is not None
    assert before.lease is not None
    assert client.view.lease.id == before.lease.id
    assert client.view.incarnation == before.incarnation


def test_a_suspended_kernel_waits_for_its_home_and_then_starts_anew_elsewhere_and_says_so() -> None:
    world = world_with(1, 1, policy=Policy(home_wait_ms=30_000))
    client = world.attached()
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert client.view is not None
    home = next(agent for agent in world.agents.values() if client.kernel_id in agent.processes)
    home.gpus = [gpu.model_copy(update={"state": "foreign"}) for gpu in home.gpus]
    home.say(control.Inventory(gpus=home.gpus))
    world.deliver_all()
    world.attach(client)
    world.deliver_all()
    assert state_of(client) is KernelState.QUEUED
    assert f"{home.id}, which has its variables, has no free GPU" in client.view.queue_reason
    world.advance(31_000)
    assert state_of(client) is KernelState.ATTACHED
    told = [m.kernel.notice for m in client.heard if isinstance(m, link.State) and m.kernel.notice]
    assert "kept your variables, could not run this kernel again; they are lost" in told[-1]
    assert client.kernel_id not in home.processes


def test_nothing_is_granted_to_a_notebook_that_left_the_queue_by_leaving() -> None:
    world = world_with(1)
    holder, waiter = world.attached(), world.kernel("H100")
    world.attach(waiter)
    waiter.close()
    holder.ask(link.ReleaseRequest)
    world.deliver_all()
    assert waiter.kernel_id not in world.agents["a"].processes
    world.advance(16_000)
    kernel = world.fleet.kernel(waiter.kernel_id)
    assert kernel is not None
    assert kernel.state is KernelState.DETACHED


def test_a_release_asked_while_attaching_cancels_the_attach_and_frees_the_gpu() -> None:
    world = world_with(1)
    client = world.kernel("H100")
    asked = world.attach(client)
    released = client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert client.answers[asked].code == "attach_cancelled"
    assert client.answers[released].code == ""
    assert not world.ledger.open


def test_a_gpu_that_came_in_doubt_while_it_was_held_goes_to_nobody_when_it_is_given_back() -> None:
    """The agent's next inventory is not there yet when the next in line is looked at."""
    world = world_with(1)
    client, waiter = world.attached(), world.kernel("H100")
    agent = world.agents["a"]
    agent.gpus = [gpu.model_copy(update={"state": "unhealthy", "reason": "Xid 79"}) for gpu in agent.gpus]
    agent.say(control.Inventory(gpus=agent.inventory()))
    asked = world.attach(waiter)
    world.deliver_all()
    assert state_of(client) is KernelState.ATTACHED
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert state_of(client) is KernelState.SUSPENDED
    assert asked not in waiter.answers
    assert waiter.view is not None
    assert "1 unhealthy (Xid 79)" in waiter.view.queue_reason


def test_release_then_attach_without_waiting_happens_in_that_order() -> None:
    world = world_with(1)
    client = world.attached()
    assert client.view is not None
    assert client.view.lease is not None
    first = client.view.lease.id
    client.ask(link.ReleaseRequest, end=True)
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == ""
    assert client.view.lease is not None
    assert client.view.lease.id != first
    assert first in world.ledger.closed


def test_a_failed_bind_is_tried_on_another_agent() -> None:
    world = world_with(1, 1)
    world.agents["a"].fails_next_bind = True
    client = world.kernel("H100")
    asked = world.attach(client)
    world.deliver_all()
    assert client.answers[asked].code == ""
    assert client.view is not None
    assert client.view.gpus is not None
    assert client.view.gpus.agent_id == "b"
    assert world.binds == 2


def test_an_agent_that_never_answers_is_cut_off_and_its_hello_sorts_things_out() -> None:
    world = world_with(1)
    client = world.kernel("H100")
    asked = world.attach(client)
    agent = world.agents["a"]
    agent.inbox.clear()  # it has forgotten the Bind
    world.advance(121_000, renewing=False)
    assert agent.link_id is None
    agent.connect()
    world.deliver_all()
    assert client.answers[asked].code == ""


def test_restarting_a_kernel_without_a_gpu_only_forgets_its_variables() -> None:
    world = world_with(1)
    client = world.attached()
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    restarted = client.ask(link.RestartRequest)
    world.deliver_all()
    assert client.answers[restarted].code == ""
    assert state_of(client) is KernelState.DETACHED
    assert not world.ledger.open
    assert not world.agents["a"].processes


def test_a_kernel_that_nobody_comes_back_to_ends_after_a_day() -> None:
    world = world_with(1)
    client = world.attached()
    client.close()
    world.advance(20_000)
    world.advance(24 * 3_600_000, renewing=False)
    world.deliver_all()
    assert not world.fleet.kernels
    assert not world.agents["a"].processes


def test_while_being_released_cells_do_not_reach_the_process() -> None:
    world = world_with(1)
    client = world.attached()
    assert world.routes[client.kernel_id].open
    client.ask(link.ReleaseRequest)
    assert not world.routes[client.kernel_id].open
    world.deliver_all()
    assert world.routes[client.kernel_id].incarnation is not None


def test_a_busy_notebook_keeps_its_gpu_for_half_an_hour() -> None:
    world = world_with(1)
    client = world.attached()
    client.say(link.LocalActivity(busy=True))
    world.advance(29 * 60_000)
    assert state_of(client) is KernelState.ATTACHED
    world.advance(3 * 60_000)
    assert state_of(client) is KernelState.SUSPENDED


def test_why_a_process_ended_is_told_even_when_the_news_comes_late() -> None:
    world = world_with(1)
    client = world.attached()
    agent = world.agents["a"]
    agent.disconnect()
    agent.process_dies(client.kernel_id)
    agent.connect()
    world.deliver_all()
    assert client.view is not None
    assert client.view.notice == "The kernel was killed."
    ((lease, _, confirmed),) = world.ledger.closed.values()
    assert confirmed, f"what {lease.id} came to is proved, too"


def test_a_lease_that_the_ledger_missed_answers_the_attach_that_waits() -> None:
    """The broker dies between Bind and the commit; its client asks again before the agent is back."""
    world = world_with(1)
    client = world.attached()
    agent = world.agents["a"]
    (lease_id,) = world.ledger.open
    world.ledger.open.clear()
    world.ledger.kernels[client.kernel_id] = replace(
        world.ledger.kernels[client.kernel_id], state=KernelState.DETACHED, incarnation=None, agent_id=None
    )
    world.restart_broker()
    client.open()
    asked = world.attach(client)
    agent.connect()
    world.deliver_all()
    assert client.answers[asked].code == ""
    assert client.view is not None
    assert client.view.incarnation == agent.processes[client.kernel_id].incarnation
    assert world.ledger.open.keys() == {lease_id}
