"""Another GPU spec for a kernel that there is: ``%gpu attach A100`` and ``%gpu restart A100`` (docs/lifecycle.md)."""

from __future__ import annotations

from perijove.wire import control, link
from perijove.wire.errors import AttachCancelled, InvalidGpuSpec, NoSuchGpu, VariablesElsewhere
from perijove.wire.models import KernelState, KernelView

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World


def world_of_two() -> World:
    """Agent a has H100s and a T4, agent b has T4s."""
    world = World()
    world.agent("a", *make_gpus("a", "H100", 2), *make_gpus("a", "T4", 1))
    world.agent("b", *make_gpus("b", "T4", 2), *make_gpus("b", "L4", 1))
    world.advance(20_000)
    return world


def view_of(client: SimClient) -> KernelView:
    assert client.view is not None
    return client.view


def held(client: SimClient) -> tuple[str, int, str]:
    gpus = view_of(client).gpus
    assert gpus is not None
    return gpus.model, gpus.count, gpus.agent_id


def attach(world: World, client: SimClient, gpu: str | None = None) -> link.Reply:
    request_id = world.attach(client, gpu)
    world.deliver_all()
    return client.answers[request_id]


def test_a_kernel_that_holds_nothing_asks_for_the_new_spec() -> None:
    world = world_of_two()
    client = world.kernel("H100")
    assert attach(world, client, "T4").code == ""
    assert held(client)[0] == "T4"
    assert world.ledger.kernels[client.kernel_id].spec == "T4"


def test_what_is_held_and_does_for_the_new_spec_stays() -> None:
    world = world_of_two()
    client = world.attached("H100")
    before = view_of(client)
    assert attach(world, client, "A100|H100").code == ""
    after = view_of(client)
    assert (after.gpu_spec, after.gpus, after.incarnation) == ("A100|H100", before.gpus, before.incarnation)
    assert len(world.ledger.open) == 1
    assert not world.ledger.closed


def test_another_gpu_of_the_same_host_keeps_the_variables() -> None:
    world = world_of_two()
    client = world.attached("H100")
    incarnation = view_of(client).incarnation
    assert attach(world, client, "T4").code == ""
    assert held(client) == ("T4", 1, "a")
    assert view_of(client).incarnation == incarnation
    assert len(world.ledger.closed) == 1, "the first GPU is paid for and free"


def test_more_gpus_of_the_kind_and_then_fewer() -> None:
    world = world_of_two()
    client = world.attached("H100")
    assert attach(world, client, "H100:2").code == ""
    assert held(client) == ("H100", 2, "a")
    assert attach(world, client, "H100").code == ""
    assert held(client) == ("H100", 1, "a")


def test_a_spec_that_cannot_be_read_changes_nothing() -> None:
    world = world_of_two()
    client = world.attached("H100")
    assert attach(world, client, "H100::").code == InvalidGpuSpec.code
    assert view_of(client).gpu_spec == "H100"
    assert view_of(client).state is KernelState.ATTACHED
    request_id = client.ask(link.RestartRequest, gpu="?")
    assert client.answers[request_id].code == InvalidGpuSpec.code


def test_variables_on_a_host_without_such_a_gpu_are_not_given_up_unasked() -> None:
    world = world_of_two()
    client = world.attached("H100")
    before = view_of(client)
    reply = attach(world, client, "L4")
    assert reply.code == VariablesElsewhere.code
    assert "on a, which has no L4 (it has 2 × H100, 1 × T4)" in reply.message
    assert "%gpu restart L4" in reply.message
    assert (view_of(client).gpu_spec, view_of(client).gpus) == ("H100", before.gpus)

    request_id = client.ask(link.RestartRequest, gpu="L4")
    world.deliver_all()
    assert client.answers[request_id].code == ""
    assert view_of(client).state is KernelState.DETACHED
    assert view_of(client).notice == ""
    assert not world.ledger.open, "a restart alone attaches nothing anew"
    assert attach(world, client).code == ""
    assert held(client) == ("L4", 1, "b")


def test_the_same_while_the_variables_wait_without_a_gpu() -> None:
    world = world_of_two()
    client = world.attached("H100")
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert attach(world, client, "L4").code == VariablesElsewhere.code
    assert view_of(client).state is KernelState.SUSPENDED
    client.ask(link.RestartRequest, gpu="L4")
    world.deliver_all()
    assert attach(world, client).code == ""
    assert held(client)[0] == "L4"


def test_a_restart_with_a_spec_that_is_met_keeps_the_lease() -> None:
    world = world_of_two()
    client = world.attached("H100")
    incarnation = view_of(client).incarnation
    request_id = client.ask(link.RestartRequest, gpu="80GB")
    world.deliver_all()
    assert client.answers[request_id].code == ""
    assert view_of(client).state is KernelState.ATTACHED
    assert view_of(client).incarnation != incarnation
    assert not world.ledger.closed


def test_another_spec_while_the_first_is_being_bound() -> None:
    """There are no variables yet: the process that was just started is given up with its GPU."""
    world = world_of_two()
    client = world.kernel("H100")
    first = world.attach(client)
    second = world.attach(client, "L4")
    world.deliver_all()
    assert client.answers[first].code == client.answers[second].code == ""
    assert held(client)[0] == "L4"
    assert not any(client.kernel_id in agent.processes for agent in [world.agents["a"]])


def test_another_spec_while_waiting_takes_the_kernel_out_of_the_first_queue() -> None:
    world = world_of_two()
    world.attached("H100:2", "bob")
    client = world.kernel("H100", "bob")
    world.attach(client)
    world.deliver_all()
    assert view_of(client).state is KernelState.QUEUED
    assert attach(world, client, "T4").code == ""
    assert held(client)[0] == "T4"


def test_a_spec_that_nobody_has_is_refused_and_forgotten() -> None:
    world = world_of_two()
    client = world.kernel("H100")
    assert attach(world, client, "B200").code == NoSuchGpu.code
    assert attach(world, client).code == ""
    assert held(client)[0] == "H100"


def test_cancelled_while_the_old_gpu_goes_back() -> None:
    world = world_of_two()
    client = world.attached("H100")
    request_id = world.attach(client, "T4")
    client.say(link.CancelRequest(request_id=request_id))
    world.deliver_all()
    assert client.answers[request_id].code == AttachCancelled.code
    assert view_of(client).state is KernelState.SUSPENDED
    assert not world.ledger.open


def test_a_broker_that_is_restarted_in_between_carries_on() -> None:
    world = world_of_two()
    client = world.attached("H100")
    world.attach(client, "T4")
    world.restart_broker()
    client.open()
    request_id = world.attach(client, "T4")  # what a client does that had no answer
    for agent in world.agents.values():
        agent.connect()
    world.deliver_all()
    if client.answers[request_id].code:  # the agent was not there yet to say what it has
        assert client.answers[request_id].code == VariablesElsewhere.code
        assert "out of contact" in client.answers[request_id].message
        assert attach(world, client, "T4").code == ""
    assert held(client) == ("T4", 1, "a")


def test_the_session_of_the_latest_client_goes_with_bind_and_restart() -> None:
    world = world_of_two()
    client = world.kernel("H100", linked=False)
    client.open(session="from the front-end")
    world.attach(client)
    agent = world.agents["a"]
    bind = agent.inbox[-1]
    assert isinstance(bind, control.Bind)
    assert bind.session == "from the front-end"
    world.deliver_all()
    client.open()  # one that does not care
    client.ask(link.RestartRequest)
    restart = agent.inbox[-1]
    assert isinstance(restart, control.Restart)
    assert restart.session == "from the front-end"
