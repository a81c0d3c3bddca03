"""Who was behind what: traced from events and instructions, also where nobody asked at that moment."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

import pytest
from perijove.broker.audit import Auditor, act_as
from perijove.broker.core.events import FleetEvent, KernelDeleted
from perijove.broker.ledger.audit import AuditEntry, Via
from perijove.wire import link

from .sim_agent import make_gpus
from .sim_client import SimClient
from .world import World


class AuditedWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.auditor = Auditor()
        self.entries: list[AuditEntry] = []

    def happen(self, event: FleetEvent) -> None:
        instructions = self.fleet.handle(event, self.now)
        self.entries += self.auditor.happened(event, instructions, self.fleet, self.now)
        for instruction in instructions:
            self.carry_out(instruction)

    def restart_broker(self) -> None:
        super().restart_broker()
        self.auditor = Auditor()
        self.auditor.take_up(self.fleet)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return [(entry.action.value, entry.actor.name, entry.actor.via.value) for entry in self.entries]


@pytest.fixture
def world() -> Iterator[AuditedWorld]:
    world = AuditedWorld()
    yield world
    opened = {entry.detail["lease"] for entry in world.entries if entry.action == "attach"}
    closed = [entry.detail["lease"] for entry in world.entries if entry.action == "release"]
    assert opened == world.ledger.open.keys() | world.ledger.closed.keys()
    assert sorted(closed) == sorted(world.ledger.closed), "each once"
    for entry in world.entries:
        if entry.action == "release":
            lease, ran, _ = world.ledger.closed[str(entry.detail["lease"])]
            assert entry.user == lease.user
            assert entry.detail["confirmed"] is False or entry.detail["ran_ms"] == ran.total_ms


def attached(world: AuditedWorld) -> SimClient:
    world.agent("host-a", *make_gpus("host-a", "H100", 1))
    return world.attached()


def test_nobody_uses_it_and_a_rule_gives_it_back(world: AuditedWorld) -> None:
    attached(world)
    world.advance(70_000)
    assert world.told[1:] == [("attach", "ada", "link"), ("release", "idle", "rule")]


def test_a_user_who_asks_before_the_rule_does_is_named(world: AuditedWorld) -> None:
    client = attached(world)
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    world.advance(70_000)
    assert world.told[2:] == [("release", "ada", "link")]


def test_an_agent_that_stays_away(world: AuditedWorld) -> None:
    attached(world)
    world.agents["host-a"].disconnect()
    world.advance(200_000, renewing=False)
    assert world.told[2:] == [("release", "out_of_contact", "rule")]
    assert world.entries[2].detail["confirmed"] is False


def test_an_agent_that_crashes_and_comes_back_lets_go_by_itself(world: AuditedWorld) -> None:
    attached(world)
    world.agents["host-a"].crash()
    world.agents["host-a"].connect()
    world.deliver_all()
    assert world.told[2:] == [("release", "host-a", "agent")]


def test_another_gpu_is_asked_for_and_the_first_goes_back(world: AuditedWorld) -> None:
    world.agent("host-a", *make_gpus("host-a", "H100", 1), *make_gpus("host-a", "T4", 1))
    client = world.attached()
    world.attach(client, "T4")
    world.deliver_all()
    assert world.told[2:] == [("release", "ada", "link"), ("attach", "ada", "link")]
    assert [entry.detail["gpu"] for entry in world.entries[2:]] == ["H100", "T4"]


def test_somebody_else_deletes_it(world: AuditedWorld) -> None:
    client = attached(world)

    def as_root() -> None:
        act_as("root", Via.API)
        world.happen(KernelDeleted(client.kernel_id))

    contextvars.copy_context().run(as_root)
    world.deliver_all()
    assert world.told[2:] == [("end_kernel", "root", "api"), ("release", "root", "api")]
    assert {entry.user for entry in world.entries} == {"ada"}


def test_a_notebook_that_closes_ends_its_kernel(world: AuditedWorld) -> None:
    attached(world).say(link.Goodbye())
    world.deliver_all()
    assert world.told[2:] == [("end_kernel", "ada", "link"), ("release", "ada", "link")]


def test_a_kernel_that_nobody_comes_back_to(world: AuditedWorld) -> None:
    client = world.kernel("H100")
    client.close()
    world.advance(25 * 3_600_000, renewing=False)
    assert world.told[1:] == [("end_kernel", "abandoned", "rule")]


def test_a_request_that_is_sent_again_is_told_once(world: AuditedWorld) -> None:
    client = world.kernel("H100")
    for _ in range(2):
        client.asked["again"] = "BudgetRequest"
        client.say(link.BudgetRequest(request_id="again", nanodollars=7))
        client.answers.clear()
    assert world.told[1:] == [("set_budget", "ada", "link")]
    assert world.entries[1].detail == {"budget_nanodollars": 7}


def test_a_lease_that_outlives_the_broker_is_known_to_the_next(world: AuditedWorld) -> None:
    client = attached(world)
    world.restart_broker()
    world.agents["host-a"].connect()
    client.open()
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert world.told[2:] == [("release", "ada", "link")]
