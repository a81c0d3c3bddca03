"""Keeping a GPU for longer than idleness would, by somebody's wish (docs/lifecycle.md)."""

from __future__ import annotations

import pytest
from perijove.wire import link
from perijove.wire.errors import KernelReleased
from perijove.wire.models import KernelState

from .sim_client import SimClient
from .test_fleet_stories import state_of, world_with
from .world import World

KEEP_S = 600


def keep(world: World, client: SimClient, seconds: int = KEEP_S) -> str:
    """The code of the answer."""
    request_id = client.ask(link.KeepRequest, seconds=seconds)
    world.deliver_all()
    return client.answers[request_id].code


def release_in_s(client: SimClient) -> float:
    assert client.view is not None
    assert client.view.release_in_s is not None
    return client.view.release_in_s


def test_an_idle_gpu_goes_back_so_much_later() -> None:
    world = world_with(1)
    client = world.attached()
    world.advance(30_000)
    assert keep(world, client) == ""
    assert release_in_s(client) == 30 + KEEP_S
    world.advance(629_000)
    assert state_of(client) is KernelState.ATTACHED
    world.advance(2_000)
    assert state_of(client) is KernelState.SUSPENDED


def test_presses_add_up_to_an_hour() -> None:
    world = world_with(1)
    client = world.attached()
    keep(world, client)
    keep(world, client)
    assert release_in_s(client) == 60 + 2 * KEEP_S
    for _ in range(10):
        keep(world, client)
    assert release_in_s(client) == 3600


def test_asked_twice_by_a_client_that_missed_the_answer_it_counts_once() -> None:
    world = world_with(1)
    client = world.attached()
    for _ in range(2):
        client.asked["once"] = "KeepRequest"
        client.say(link.KeepRequest(request_id="once", seconds=KEEP_S))
        world.deliver_all()
    assert release_in_s(client) == 60 + KEEP_S


def test_asked_for_while_a_cell_runs_it_counts_from_the_cells_end() -> None:
    world = world_with(1)
    client = world.attached()
    world.agents["a"].turn(client.kernel_id, busy=True)
    world.deliver_all()
    keep(world, client)
    assert client.view is not None
    assert client.view.keep_extra_s == KEEP_S
    world.advance(3_000_000)
    world.agents["a"].turn(client.kernel_id, busy=False)
    world.deliver_all()
    assert release_in_s(client) == 60 + KEEP_S
    assert client.view.keep_extra_s == 0


def test_a_notebook_that_goes_away_does_not_end_it() -> None:
    world = world_with(1)
    client = world.attached()
    keep(world, client)
    client.close()
    world.advance(300_000)
    assert client.kernel_id in {kernel.id for kernel in world.fleet.living_kernels() if kernel.lease is not None}
    world.advance(400_000)
    assert not world.ledger.open


@pytest.mark.parametrize("busy", [False, True])
def test_a_broker_that_starts_again_keeps_it(busy: bool) -> None:
    world = world_with(1)
    client = world.attached()
    world.agents["a"].turn(client.kernel_id, busy=busy)
    world.deliver_all()
    keep(world, client)
    world.advance(100_000)
    world.restart_broker()
    client.open()
    world.agents["a"].connect()
    world.deliver_all()
    if busy:
        world.agents["a"].turn(client.kernel_id, busy=False)
        world.deliver_all()
    left = 60 + KEEP_S - (0 if busy else 100)
    assert left - 5 <= release_in_s(client) <= left
    world.advance((left - 10) * 1000)
    assert state_of(client) is KernelState.ATTACHED
    world.advance(11_000)
    assert state_of(client) is KernelState.SUSPENDED


def test_a_release_ends_it_and_the_next_lease_knows_nothing_of_it() -> None:
    world = world_with(1)
    client = world.attached()
    keep(world, client)
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert state_of(client) is KernelState.SUSPENDED
    world.attach(client)
    world.deliver_all()
    assert release_in_s(client) == 60


def test_a_used_up_budget_is_stronger() -> None:
    world = world_with(1)
    client = world.attached(budget=100 * 1_097_000)
    keep(world, client)
    world.advance(120_000)
    assert state_of(client) is KernelState.SUSPENDED


def test_where_no_gpu_is_held_there_is_nothing_to_keep() -> None:
    world = world_with(1)
    client = world.kernel("H100")
    assert keep(world, client) == KernelReleased.code
    assert not world.ledger.open
