"""What is counted of a fleet's life, and how it is told to Prometheus; no sockets, and a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from perijove.broker.broker import Broker
from perijove.broker.core.events import FleetEvent
from perijove.broker.core.records import LeaseRecord
from perijove.broker.relay import Relay
from perijove.broker.telemetry.exposition import registry_of
from perijove.broker.telemetry.metrics import (
    ATTACH_BOUNDS_S,
    ATTACH_PHASES,
    RECENT_ATTACHES,
    Histogram,
    Metrics,
    RecentAttaches,
)
from perijove.broker.usage.book import UsageBook
from perijove.wire import link
from perijove.wire.usage import GpuSample, HostSample, Usage
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from .sim_agent import make_gpus
from .world import World


class WatchedWorld(World):
    """A world whose events are counted as the broker counts its own."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = Metrics()
        self.relay = Relay()
        self.usage = UsageBook()

    def happen(self, event: FleetEvent) -> None:
        instructions = self.fleet.handle(event, self.now)
        self.metrics.happened(event, instructions, self.fleet, self.now.boot)
        for instruction in instructions:
            self.carry_out(instruction)

    def restart_broker(self) -> None:
        super().restart_broker()
        self.metrics = Metrics()
        self.metrics.take_up(self.fleet)

    def value(self, name: str, **labels: str) -> float:
        """Read from what a scrape would get."""
        broker = SimpleNamespace(
            fleet=self.fleet,
            metrics=self.metrics,
            relay=self.relay,
            usage=self.usage,
            version="1",
            started=self.fleet.state.started,
            now=lambda: self.now,
        )
        text = generate_latest(registry_of(cast(Broker, broker))).decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == "perijove_" + name and labels.items() <= s.labels.items())

    def billed(self, *, simulated: bool = False) -> int:
        """By the ledger, in nano-dollars."""
        closed = [(lease, ran) for lease, ran, _ in self.ledger.closed.values()]
        return sum(_cost(lease, ran.total_ms) for lease, ran in closed if lease.simulated is simulated)


def _cost(lease: LeaseRecord, ms: int) -> int:
    return lease.nanodollars_per_ms * ms


@pytest.fixture
def world() -> WatchedWorld:
    return WatchedWorld()


def test_an_attach_is_timed_from_the_asking_to_the_process(world: WatchedWorld) -> None:
    agent = world.agent("a", *make_gpus("a", "H100", 1))
    first = world.attached()
    second = world.kernel("H100")
    world.attach(second)
    world.advance(20_000)
    assert world.value("queue_kernels", spec="H100") == 1
    assert world.value("queue_oldest_seconds", spec="H100") == 20
    assert world.value("kernels", state="queued") == 1
    first.ask(link.ReleaseRequest)
    world.deliver_all()
    assert world.value("kernels", state="attached") == 1
    assert world.value("queue_kernels") == 0
    of = {"gpu": "H100", "phase": "queued"}
    assert world.value("attach_duration_seconds_count", **of) == 2
    assert world.value("attach_duration_seconds_sum", **of) == 20
    assert world.value("attach_duration_seconds_bucket", **of, le="10.0") == 1
    assert world.value("attach_duration_seconds_bucket", **of, le="30.0") == 2
    assert world.value("attach_duration_seconds_bucket", **of, le="+Inf") == 2
    assert world.value("attach_duration_seconds_sum", phase="total") == 20
    assert agent.link_id is not None


def test_a_restart_is_no_attach(world: WatchedWorld) -> None:
    world.agent("a", *make_gpus("a", "H100", 1))
    client = world.attached()
    client.ask(link.RestartRequest)
    world.deliver_all()
    assert world.value("attach_duration_seconds_count", phase="total") == 1


def test_a_bind_that_fails_is_counted_and_not_timed(world: WatchedWorld) -> None:
    world.agent("a", *make_gpus("a", "H100", 1)).fails_next_bind = True
    client = world.kernel("H100")
    world.attach(client)
    world.deliver_all()
    assert world.value("bind_failures_total") == 1
    assert world.value("leases_opened_total") == world.value("leases_closed_total") + world.value("leases_open")
    assert world.value("attach_duration_seconds_count", phase="total") == world.value("kernels", state="attached")


@pytest.mark.parametrize("simulated", [False, True])
def test_spend_is_what_the_ledger_has_and_simulated_is_apart(world: WatchedWorld, simulated: bool) -> None:
    world.agent("a", *make_gpus("a", "H100", 1, simulated=simulated))
    client = world.attached()
    flag = "true" if simulated else "false"
    assert world.value("leases_open", gpu="H100", simulated=flag) == 1
    assert world.value("spend_rate_dollars_per_second", simulated=flag) == pytest.approx(0.001097)
    world.advance(61_000)
    while_open = world.value("spend_dollars_total", simulated=flag)
    assert while_open > 0
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert world.metrics.spent_nanodollars["H100", simulated] == world.billed(simulated=simulated) > 0
    assert world.value("spend_dollars_total", simulated="false" if simulated else "true") == 0
    assert world.value("spend_rate_dollars_per_second") == 0
    seconds = sum(world.value("lease_seconds_total", phase=phase) for phase in ("starting", "busy", "idle"))
    assert round(seconds * 1000) * 1097 == world.billed(simulated=simulated)


def test_what_was_spent_before_a_restart_is_not_counted_again(world: WatchedWorld) -> None:
    agent = world.agent("a", *make_gpus("a", "H100", 1))
    client = world.attached()
    world.advance(30_000)
    before = world.metrics.spent_nanodollars["H100", False]
    world.restart_broker()
    assert world.value("spend_dollars_total") == 0
    assert world.value("agents", state="away") == 1
    agent.connect()
    client.open()
    world.advance(30_000)
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert before + world.metrics.spent_nanodollars["H100", False] == world.billed()


def test_time_proven_late_is_counted_once(world: WatchedWorld) -> None:
    agent = world.agent("a", *make_gpus("a", "H100", 1))
    world.attached()
    world.advance(30_000)
    agent.disconnect()
    world.advance(200_000, renewing=False)
    assert world.value("leases_closed_total", confirmed="false") == 1
    agent.connect()
    world.deliver_all()
    assert world.metrics.spent_nanodollars["H100", False] == world.billed()
    assert world.value("links_opened_total", kind="agent", how="again") == 1


def test_links_that_come_again_and_that_replace(world: WatchedWorld) -> None:
    client = world.kernel("H100")
    client.open()  # beside the first, which is still open
    client.close()
    client.open()
    for how in ("first", "replacing", "again"):
        assert world.value("links_opened_total", kind="client", how=how) == 1


def test_agents_gpus_and_spares_are_those_of_agents_that_are_there(world: WatchedWorld) -> None:
    here = world.agent("a", *make_gpus("a", "H100", 2))
    there = world.agent("b", *make_gpus("b", "T4", 1))
    world.attached()
    assert world.value("agents", state="connected") == 2
    assert world.value("gpus", gpu="H100") == 2
    there.disconnect()
    assert world.value("agents", state="away") == 1
    assert world.value("gpus", gpu="T4") == 0
    assert here.link_id is not None


def test_xids_are_counted_by_device_and_instances_of_one_gpu_are_told_apart(world: WatchedWorld) -> None:
    (whole,) = make_gpus("a", "H100", 1)
    parts = [
        whole.model_copy(update={"uuid": f"MIG-{part}", "model": "H100-1g.10gb", "part_of": whole.uuid, "part": part})
        for part in range(2)
    ]
    world.agent("a", *parts)
    samples = [
        GpuSample(uuid="MIG-0", memory_used_bytes=1, xid_errors={31: 2, 43: 1}),
        GpuSample(uuid="MIG-1", memory_used_bytes=2),  # its driver reports none
    ]
    host = HostSample(cpu_percent=0, cores=1, memory_used_bytes=0, memory_total_bytes=1)
    world.usage.take("a", Usage(host=host, gpus=samples, kernels=[]), {}, world.now)
    of_first = {"agent": "a", "index": "0:0", "gpu": "H100-1g.10gb"}
    assert world.value("gpu_xid_errors_total", **of_first, xid="31") == 2
    assert world.value("gpu_xid_errors_total", **of_first) == world.value("gpu_xid_errors_total") == 3
    assert world.value("gpu_memory_used_bytes", index="0:1") == 2


def test_a_value_on_a_bound_is_below_it() -> None:
    histogram = Histogram(ATTACH_BOUNDS_S)
    for value in (0.0, 0.005, 0.0051, 4000.0):
        histogram.observe(value)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-1] == 1


def test_quantiles_are_times_that_were_measured() -> None:
    recent = RecentAttaches()
    assert recent.quantiles() == {}
    for ms in range(100, 0, -1):
        recent.add({"queued": 0, "starting": ms, "total": ms})
    told = recent.quantiles()["total"]
    assert (told["p50"], told["p95"], told["p99"], told["count"]) == (0.05, 0.095, 0.099, 100)
    assert recent.quantiles()["queued"]["p99"] == 0


def test_quantiles_are_of_the_latest() -> None:
    recent = RecentAttaches()
    recent.add(dict.fromkeys(ATTACH_PHASES, 60_000))
    assert recent.quantiles()["total"]["p50"] == 60
    for _ in range(RECENT_ATTACHES):
        recent.add(dict.fromkeys(ATTACH_PHASES, 5))
    assert recent.quantiles()["total"] == {"p50": 0.005, "p95": 0.005, "p99": 0.005, "count": RECENT_ATTACHES}
