"""Draining an agent, as its users, those who wait, and the admin who asked live through it."""

from __future__ import annotations

import pytest
from perijove.broker.core.policy import Policy
from perijove.wire import link
from perijove.wire.errors import VariablesElsewhere
from perijove.wire.models import KernelState

from .sim_agent import make_gpus
from .world import World

DRAIN_IDLE_MS = Policy().drain_idle_ms


@pytest.fixture
def world() -> World:
    world = World()
    world.agent("gpu-1", *make_gpus("gpu-1", "H100", 1))
    return world


def test_what_is_idle_is_released_and_its_variables_are_kept(world: World) -> None:
    client = world.attached()
    world.drain("gpu-1")
    assert client.view is not None
    assert client.view.draining == "gpu-1 is draining (asked by ann)"
    assert client.view.release_in_s == DRAIN_IDLE_MS / 1000
    world.advance(DRAIN_IDLE_MS + 1)
    assert client.view.state is KernelState.SUSPENDED
    assert client.view.incarnation is not None


def test_what_runs_goes_on_until_it_is_over(world: World) -> None:
    client = world.attached()
    world.agents["gpu-1"].turn(client.kernel_id, busy=True)
    world.deliver_all()
    world.drain("gpu-1")
    world.advance(3_600_000)
    assert client.view is not None
    assert (client.view.state, client.view.busy) == (KernelState.ATTACHED, True)
    world.agents["gpu-1"].turn(client.kernel_id, busy=False)
    world.deliver_all()
    world.advance(DRAIN_IDLE_MS - 1)
    assert client.view.state is KernelState.ATTACHED  # the next cell of Run All may be about to come
    world.advance(2)
    assert client.view.state is KernelState.SUSPENDED


def test_variables_that_a_release_would_lose_are_given_their_usual_time(world: World) -> None:
    client = world.attached()
    process = world.agents["gpu-1"].processes[client.kernel_id]
    process.keepable = False
    world.agents["gpu-1"].turn(client.kernel_id, busy=False)
    world.deliver_all()
    world.drain("gpu-1")
    world.advance(world.policy.idle_timeout_unkeepable_ms - 1000)
    assert client.view is not None
    assert client.view.state is KernelState.ATTACHED


def test_a_deadline_releases_what_still_runs(world: World) -> None:
    client = world.attached()
    world.agents["gpu-1"].turn(client.kernel_id, busy=True)
    world.deliver_all()
    world.drain("gpu-1", within_ms=10_000)
    world.advance(9_999)
    assert client.view is not None
    assert client.view.state is KernelState.ATTACHED
    world.advance(1)
    assert client.view.lease is None


def test_asked_again_the_newest_word_counts(world: World) -> None:
    client = world.attached()
    world.agents["gpu-1"].turn(client.kernel_id, busy=True)
    world.deliver_all()
    world.drain("gpu-1", within_ms=10_000)
    world.drain("gpu-1", by="bob")
    world.advance(20_000)
    assert client.view is not None
    assert client.view.state is KernelState.ATTACHED
    assert client.view.draining == "gpu-1 is draining (asked by bob)"


def test_who_waits_is_told_why_and_served_when_it_is_undone(world: World) -> None:
    world.drain("gpu-1")
    client = world.kernel("H100")
    request = world.attach(client)
    assert client.view is not None
    assert client.view.queue_reason == "waiting for H100: 1st in line: gpu-1 is draining (asked by ann)"
    world.undo_drain("gpu-1")
    world.deliver_all()
    assert client.answers[request].code == ""


def test_new_work_goes_elsewhere(world: World) -> None:
    world.drain("gpu-1")
    world.agent("gpu-2", *make_gpus("gpu-2", "H100", 1))
    first, second = world.attached(), world.kernel("H100")
    assert first.view is not None
    assert first.view.gpus is not None
    assert first.view.gpus.agent_id == "gpu-2"
    world.attach(second)
    assert second.view is not None
    assert second.view.queue_reason == (
        "waiting for H100: 1st in line: gpu-1 is draining (asked by ann); elsewhere 1 of 1 H100 in use"
    )


@pytest.mark.parametrize("spec", [None, "H100"])
def test_a_suspended_kernel_is_told_where_its_variables_are_and_keeps_them(world: World, spec: str | None) -> None:
    client = world.attached()
    world.drain("gpu-1")
    world.advance(DRAIN_IDLE_MS + 1)
    world.agent("gpu-2", *make_gpus("gpu-2", "H100", 1))
    refused = client.answers[world.attach(client, spec)]
    assert refused.code == VariablesElsewhere.code
    assert "on gpu-1, and gpu-1 is draining (asked by ann)" in refused.message
    assert refused.message.endswith("run: %gpu restart H100")
    assert client.view is not None
    assert client.view.state is KernelState.SUSPENDED

    world.undo_drain("gpu-1")
    before = client.view.incarnation
    request = world.attach(client, spec)
    world.deliver_all()
    assert client.answers[request].code == ""
    assert client.view.incarnation == before


def test_a_restart_gives_them_up_and_starts_elsewhere(world: World) -> None:
    client = world.attached()
    world.drain("gpu-1")
    world.advance(DRAIN_IDLE_MS + 1)
    world.agent("gpu-2", *make_gpus("gpu-2", "H100", 1))
    client.ask(link.RestartRequest)
    world.deliver_all()
    request = world.attach(client)
    world.deliver_all()
    assert client.answers[request].code == ""
    assert client.view is not None
    assert client.view.gpus is not None
    assert client.view.gpus.agent_id == "gpu-2"
    assert client.view.draining == ""


def test_it_holds_over_the_agents_reconnection_and_a_restart_of_the_broker(world: World) -> None:
    client = world.attached()
    agent = world.agents["gpu-1"]
    agent.turn(client.kernel_id, busy=True)
    world.deliver_all()
    world.drain("gpu-1", within_ms=30_000)
    agent.connect()
    world.advance(10_000)
    world.restart_broker()
    agent.connect()
    client.open()
    world.advance(19_000)
    assert client.view is not None
    assert client.view.draining == "gpu-1 is draining (asked by ann)"
    assert client.view.state is KernelState.ATTACHED
    world.advance(1_100)
    assert client.view.lease is None
    other = world.kernel("H100")
    world.attach(other)
    assert other.view is not None
    assert other.view.state is KernelState.QUEUED


def test_a_deadline_that_passed_while_the_broker_was_down(world: World) -> None:
    client = world.attached()
    agent = world.agents["gpu-1"]
    agent.turn(client.kernel_id, busy=True)
    world.deliver_all()
    world.drain("gpu-1", within_ms=1_000)
    world.restart_broker()
    world.advance(5_000, renewing=False)
    agent.connect()
    client.open()
    world.deliver_all()
    assert client.view is not None
    assert client.view.lease is None


def test_what_an_agent_asks_for_itself_ends_with_it_and_yields_to_an_admin(world: World) -> None:
    agent = world.agents["gpu-1"]
    agent.ask_for_drain(draining=True)
    world.deliver_all()
    client = world.kernel("H100")
    world.attach(client)
    assert client.view is not None
    assert client.view.queue_reason.endswith("gpu-1 is draining (asked by the agent itself)")
    world.drain("gpu-1")
    assert client.view.queue_reason.endswith("gpu-1 is draining (asked by ann)")
    world.undo_drain("gpu-1")
    assert client.view.queue_reason.endswith("(asked by the agent itself)")  # which is not for an admin to undo
    world.undo_drain("gpu-1")
    assert client.view.queue_reason.endswith("(asked by the agent itself)")
    world.drain("gpu-1")
    agent.crash()
    agent.connect()
    world.deliver_all()
    assert client.view.state is KernelState.QUEUED  # the admin has not undone it
    world.undo_drain("gpu-1")
    world.deliver_all()
    assert client.view.state is KernelState.ATTACHED
    agent.ask_for_drain(draining=True)
    world.deliver_all()
    agent.crash()
    agent.connect()
    assert not world.fleet.state.drains
