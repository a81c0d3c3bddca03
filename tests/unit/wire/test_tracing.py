"""Spans: what they say where somebody traces, and that nothing is done or imported where nobody does."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from perijove.wire import tracing
from perijove.wire.errors import AttachCancelled
from perijove.wire.tracing import NOT_TRACED, Tracer, is_configured

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracer(provider, "broker")


@pytest.mark.parametrize(
    ("environment", "configured"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_usual_variables_say_whether_anybody_wants_traces(environment: dict[str, str], configured: bool) -> None:
    assert is_configured(environment) is configured


def test_a_child_is_below_its_parent_whichever_process_makes_it(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    root = tracer.start("attach", spec="H100")
    with root.child("queued") as queued:
        queued.note("waits", reason="1 of 1 H100 in use")
    elsewhere = tracer.start("bind", root.traceparent, resumes=True)
    elsewhere.end("gpu_unavailable")
    root.end()
    queued_span, bind, attach = spans.get_finished_spans()
    assert (attach.parent, attach.name, attach.attributes) == (None, "attach", {"perijove.spec": "H100"})
    for below in (queued_span, bind):
        assert below.parent is not None
        assert below.parent.span_id == attach.context.span_id
        assert below.context.trace_id == attach.context.trace_id
    assert queued_span.events[0].attributes == {"perijove.reason": "1 of 1 H100 in use"}
    assert (bind.status.status_code, bind.status.description) == (StatusCode.ERROR, "gpu_unavailable")
    assert attach.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("error", "code"),
    [(AttachCancelled("x"), "attach_cancelled"), (asyncio.CancelledError(), "cancelled"), (OSError(5), "OSError")],
)
def test_a_block_that_an_error_leaves_says_which(
    tracer: Tracer, spans: InMemorySpanExporter, error: BaseException, code: str
) -> None:
    with pytest.raises(type(error)), tracer.start("attach"):
        raise error
    (span,) = spans.get_finished_spans()
    assert span.status.description == code
    assert span.events == (), "an error's text may hold what is nobody's business"


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-00", "x" * 128])
def test_a_parent_that_cannot_be_read_is_none(tracer: Tracer, spans: InMemorySpanExporter, traceparent: str) -> None:
    tracer.start("attach", traceparent).end()
    (span,) = spans.get_finished_spans()
    assert span.parent is None


def test_whoever_is_not_sampled_upstream_is_not_recorded(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    span = tracer.start("attach", f"00-{1:032x}-{2:016x}-00")
    span.end()
    assert spans.get_finished_spans() == ()
    assert span.traceparent.startswith(f"00-{1:032x}-")
    assert span.traceparent.endswith("-00"), "nor are those who go on with it"


def test_without_a_tracer_spans_are_nothing() -> None:
    with tracing.start(None, "attach", kernel="k") as span:
        assert span is span.child("queued") is NOT_TRACED
        span.set(gpu="H100")
        span.note("waits")
        span.fail("x")
    assert span.traceparent == ""


WITHOUT = """
import asyncio, sys
import perijove.client.channel, perijove.remote_agent.kernels, perijove.broker.telemetry.traces
from perijove.wire import tracing
before = {name for name in sys.modules if name.startswith("opentelemetry")}
tracing.prepare("client")
assert asyncio.run(tracing.tracer_of("client")) is None
with tracing.start(None, "attach") as span:
    span.end("x")
assert {name for name in sys.modules if name.startswith("opentelemetry")} == before
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
import threading
assert threading.active_count() == 1
"""


def test_nothing_is_imported_where_no_endpoint_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_said_once_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import asyncio, logging, sys
sys.modules["opentelemetry.sdk"] = None  # as where it is not installed
logging.basicConfig()
from perijove.wire import tracing
for _ in range(2):
    assert asyncio.run(tracing.tracer_of("client")) is None
"""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install 'perijove[otel]'") == 1
