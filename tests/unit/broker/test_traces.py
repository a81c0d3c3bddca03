"""The broker's part of a trace, whatever becomes of an attach; no sockets, and spans kept in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from perijove.broker.core.events import FleetEvent
from perijove.broker.core.policy import Policy
from perijove.broker.telemetry.traces import Traces
from perijove.wire import control, link
from perijove.wire.models import KernelState
from perijove.wire.tracing import NOT_TRACED, Tracer

from .sim_agent import SimAgent, make_gpus
from .test_fleet_every_order import EveryOrder
from .world import World

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"


class TracedWorld(World):
    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__(policy)
        self.spans = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = Tracer(provider, "broker")
        self.traces = Traces(self.tracer)
        self.told: list[control.Bind] = []

    def happen(self, event: FleetEvent) -> None:
        instructions = self.traces.happened(event, self.fleet.handle(event, self.now), self.fleet)
        for instruction in instructions:
            if isinstance(message := getattr(instruction, "message", None), control.Bind):
                self.told.append(message)
            self.carry_out(instruction)

    def restart_broker(self) -> None:
        super().restart_broker()
        self.traces = Traces(self.tracer)

    def tree(self) -> list[str]:
        """Each trace that has ended as indented lines: the name, and the code of what went wrong."""
        spans = sorted(self.spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        return list(_lines(spans, None, ""))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]


def _lines(spans: list[ReadableSpan], parent: int | None, indent: str) -> Iterator[str]:
    for span in spans:
        if (span.parent.span_id if span.parent else None) == parent:
            failed = f": {span.status.description}" if span.status.description else ""
            yield f"{indent}{span.name}{failed}"
            yield from _lines(spans, span.context.span_id, indent + "  ")


@pytest.fixture
def world() -> Iterator[TracedWorld]:
    world = TracedWorld()
    yield world
    assert not [span for span in world.spans.get_finished_spans() if span.end_time is None]


def agent(world: TracedWorld, name: str = "a", count: int = 1) -> SimAgent:
    return world.agent(name, *make_gpus(name, "H100", count))


def test_an_attach_and_its_parts(world: TracedWorld) -> None:
    agent(world)
    world.attached()
    assert world.tree() == ["attach", "  queued", "  starting"]
    (starting,), (attach,) = world.named("starting"), world.named("attach")
    assert starting.attributes is not None
    lease = starting.attributes["perijove.lease"]
    assert starting.attributes == {
        "perijove.lease": lease,
        "perijove.gpu": "H100",
        "perijove.count": 1,
        "perijove.agent": "a",
        "perijove.simulated": False,
        "perijove.resumes": False,
    }
    assert attach.attributes is not None
    assert attach.attributes["perijove.lease"] == lease
    assert world.told[0].traceparent.split("-")[2] == f"{starting.context.span_id:016x}"
    assert not world.traces._trails


def test_it_goes_on_below_the_clients_span(world: TracedWorld) -> None:
    agent(world)
    client = world.kernel("H100")
    request_id = world.new_id("attach")
    world.attach_ids.add(request_id)
    client.asked[request_id] = "AttachRequest"
    traceparent = f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"
    client.say(link.AttachRequest(request_id=request_id, traceparent=traceparent))
    world.deliver_all()
    (attach,) = world.named("attach")
    assert attach.parent is not None
    assert (f"{attach.parent.trace_id:032x}", f"{attach.parent.span_id:016x}") == (CLIENT_TRACE, CLIENT_SPAN)
    assert world.told[0].traceparent.split("-")[1] == CLIENT_TRACE


def test_waiting_says_why(world: TracedWorld) -> None:
    agent(world)
    first = world.attached()
    second = world.kernel("H100")
    world.attach(second)
    world.deliver_all()
    world.spans.clear()
    first.ask(link.ReleaseRequest)
    world.deliver_all()
    assert world.tree() == ["attach", "  queued", "  starting"]
    (queued,) = world.named("queued")
    assert queued.attributes is not None
    assert queued.attributes["perijove.reason"] == "waiting for H100: 1st in line: 1 of 1 H100 in use"
    assert [event.name for event in queued.events] == ["waits"]


def test_a_kernel_that_holds_its_gpu_is_answered_at_once(world: TracedWorld) -> None:
    agent(world)
    client = world.attached()
    world.spans.clear()
    world.attach(client)
    world.deliver_all()
    assert world.tree() == ["attach"]


def test_leaving_the_queue(world: TracedWorld) -> None:
    agent(world)
    world.attached()
    client = world.kernel("H100")
    request_id = world.attach(client)
    world.deliver_all()
    world.spans.clear()
    client.say(link.CancelRequest(request_id=request_id))
    world.deliver_all()
    assert world.tree() == ["attach: attach_cancelled", "  queued: attach_cancelled"]
    assert not world.traces._trails


def test_what_nobody_has_is_refused(world: TracedWorld) -> None:
    agent(world)
    world.advance(20_000)
    client = world.kernel("B200")
    world.attach(client)
    world.deliver_all()
    assert world.tree() == ["attach: no_such_gpu"], "it never was in the queue"


def test_a_spec_that_cannot_be_read_is_never_queued(world: TracedWorld) -> None:
    agent(world)
    client = world.kernel("H100")
    client.ask(link.AttachRequest, gpu="H 100")
    world.deliver_all()
    assert world.tree() == ["attach: invalid_gpu_spec"]


def test_a_bind_that_fails_and_another_that_does_not(world: TracedWorld) -> None:
    agent(world, "a").fails_next_bind = True
    agent(world, "b")
    world.attached()
    tree = world.tree()
    assert tree[:3] == ["attach", "  queued", "  starting: attach_failed"]
    assert tree[3:] == ["  queued", "  starting"]
    failed, succeeded = world.named("starting")
    assert failed.attributes is not None
    assert succeeded.attributes is not None
    assert (failed.attributes["perijove.agent"], succeeded.attributes["perijove.agent"]) == ("a", "b")
    assert [bind.traceparent.split("-")[2] for bind in world.told] == [
        f"{span.context.span_id:016x}" for span in (failed, succeeded)
    ]


def test_a_bind_that_fails_where_nobody_else_can(world: TracedWorld) -> None:
    agent(world).fails_next_bind = True
    client = world.kernel("H100")
    request_id = world.attach(client)
    world.deliver_all()
    code = client.answers[request_id].code
    assert code
    tree = world.tree()
    assert tree[0] == f"attach: {code}"
    assert "  starting: attach_failed" in tree
    assert not world.traces._trails


def test_a_release_while_it_starts(world: TracedWorld) -> None:
    agent(world)
    client = world.kernel("H100")
    world.attach(client)
    client.ask(link.ReleaseRequest)
    world.deliver_all()
    assert world.tree()[0] == "attach: attach_cancelled"
    assert not world.traces._trails


def test_a_client_that_links_anew_waits_in_the_same_span(world: TracedWorld) -> None:
    agent(world)
    first, second = world.attached(), world.kernel("H100")
    request_id = world.attach(second)
    world.deliver_all()
    world.spans.clear()
    second.close()
    world.advance(3_000)
    second.open()
    second.asked[request_id] = "AttachRequest"
    second.say(link.AttachRequest(request_id=request_id))
    first.ask(link.ReleaseRequest)
    world.deliver_all()
    assert world.tree() == ["attach", "  queued", "  starting"]


def test_a_client_that_stays_away_has_given_up(world: TracedWorld) -> None:
    agent(world)
    world.attached()
    client = world.kernel("H100")
    world.attach(client)
    world.deliver_all()
    world.spans.clear()
    client.close()
    world.advance(20_000)
    assert world.tree() == ["attach: abandoned", "  queued: abandoned"]
    assert not world.traces._trails


def test_two_who_wait_for_one_kernel(world: TracedWorld) -> None:
    """The phases are the kernel's: they are told once, below who asked first."""
    agent(world)
    first, client = world.attached(), world.kernel("H100")
    world.attach(client)
    world.attach(client)
    world.deliver_all()
    world.spans.clear()
    first.ask(link.ReleaseRequest)
    world.deliver_all()
    assert sorted(world.tree()[:1]) == ["attach"]
    assert sorted(world.tree()) == ["  queued", "  starting", "attach", "attach"]


def test_a_kernel_that_is_ended_while_it_waits(world: TracedWorld) -> None:
    agent(world)
    world.attached()
    client = world.kernel("H100")
    world.attach(client)
    world.deliver_all()
    world.spans.clear()
    client.say(link.Goodbye())
    world.deliver_all()
    assert world.tree() == ["attach: attach_cancelled", "  queued: attach_cancelled"]
    assert not world.traces._trails


def test_a_broker_whose_agent_is_lost_while_it_starts(world: TracedWorld) -> None:
    lost = agent(world)
    client = world.kernel("H100")
    world.attach(client)
    lost.crash()
    world.advance(200_000)
    assert world.named("starting")[0].status.description == "agent_lost"


class TracedInEveryOrder(EveryOrder):
    """Whatever happens, a span is open for just as long as what it is about."""

    world_of = TracedWorld

    @invariant()
    def what_is_open_goes_on(self) -> None:
        assert isinstance(self.world, TracedWorld)
        for kernel_id, trail in self.world.traces._trails.items():
            kernel = self.world.fleet.kernel(kernel_id)
            assert kernel is not None
            assert trail.queued is NOT_TRACED or kernel.state is KernelState.QUEUED
            assert trail.starting is NOT_TRACED or kernel.state is KernelState.STARTING
            on_its_way = kernel.state in (KernelState.QUEUED, KernelState.STARTING)
            assert trail.attaches
            assert all(request_id in kernel.attaches or on_its_way for request_id in trail.attaches)

    @invariant()
    def who_waits_is_traced(self) -> None:
        assert isinstance(self.world, TracedWorld)
        for kernel in self.world.fleet.living_kernels():
            trail = self.world.traces._trails.get(kernel.id)
            assert not kernel.attaches or (trail is not None and set(kernel.attaches) <= trail.attaches.keys())
            if kernel.attaches and kernel.state is KernelState.QUEUED:
                assert trail is not None
                assert trail.queued is not NOT_TRACED


TestTracedInEveryOrder = TracedInEveryOrder.TestCase
TestTracedInEveryOrder.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
