"""Traces of attaches, for OpenTelemetry: where an endpoint is configured, and nowhere else.

The endpoint is configured by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``); its packages come with
``perijove[otel]``. Where there is none nothing of it is imported, and a span is one that does nothing. Spans say how an
attach went and how long its parts took: ids, GPUs, reasons and codes; never code, names of variables or tokens.

A trace goes from part to part as W3C trace context: a ``traceparent`` in ``attach`` and ``bind``.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as SdkSpan

Part = Literal["client", "broker", "agent"]
Value = str | int | bool
PREFIX = "perijove."
MOST_TRACEPARENT_CHARACTERS = 128  # of 55 in the version that there is
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SENT_AFTER = "OTEL_BSP_SCHEDULE_DELAY"
_SENT_AFTER_MS = 1000  # a notebook's kernel may be killed at any time: less than the library's 5 s
_CLOSE_TIMEOUT_S = 2.0  # an endpoint that does not answer must not keep anybody from ending
log = logging.getLogger(__name__)


class Span:
    """A part of a trace, from its making to :meth:`end`. Without a tracer it is nothing, and costs next to nothing.

    As a context manager it ends with the block, and says which error left it.
    """

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer | None, span: SdkSpan | None) -> None:
        self._tracer = tracer
        self._span = span

    def child(self, name: str, **attributes: Value) -> Span:
        if self._tracer is None or self._span is None:
            return NOT_TRACED
        return self._tracer.start(name, self.traceparent, **attributes)

    def set(self, **attributes: Value) -> None:
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def note(self, what: str, **attributes: Value) -> None:
        """Something happened now."""
        if self._span is not None:
            self._span.add_event(what, _named(attributes))

    def fail(self, code: str) -> None:
        """What the span is about went wrong; ``code`` is an error's stable one."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode  # not imported where nothing is traced

            self._span.set_status(Status(StatusCode.ERROR, code))

    def end(self, code: str = "") -> None:
        """It is over; with an error's code: it failed. What is done to a span that has ended has no effect."""
        if self._span is not None:
            if code:
                self.fail(code)
            self._span.end()

    @property
    def traceparent(self) -> str:
        """For whoever goes on with the trace; empty where there is none."""
        if self._span is None:
            return ""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end("" if error is None else code_of(error))


NOT_TRACED: Final = Span(None, None)


class Tracer:
    """One part's spans."""

    def __init__(self, provider: TracerProvider, part: Part) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(f"perijove.{part}")

    def start(self, name: str, traceparent: str = "", **attributes: Value) -> Span:
        """A span that begins now, below the one that ``traceparent`` names, or at the root of a new trace."""
        from opentelemetry.context import Context  # not imported where nothing is traced
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # Never below a span of the notebook's own program, which this thread may be in.
        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
        return Span(self, self._tracer.start_span(name, parent, attributes=_named(attributes)))

    def close(self) -> None:
        """Send what is left, or give up after two seconds. Blocks."""
        sender = threading.Thread(target=self._provider.shutdown, name="perijove-last-spans", daemon=True)
        sender.start()
        sender.join(_CLOSE_TIMEOUT_S)


def start(tracer: Tracer | None, name: str, traceparent: str = "", **attributes: Value) -> Span:
    return NOT_TRACED if tracer is None else tracer.start(name, traceparent, **attributes)


def code_of(error: BaseException) -> str:
    """An error's stable code, where it has one."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return str(getattr(error, "code", "") or type(error).__name__)


def is_configured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether anybody wants traces, by OpenTelemetry's own variables."""
    if not any(environment.get(name) for name in _ENDPOINTS):
        return False
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() != "none"


_tracers: dict[Part, Future[Tracer | None]] = {}


def prepare(part: Part) -> None:
    """Begin to import what tracing takes, in a thread, where an endpoint is configured."""
    if part not in _tracers and is_configured():
        _tracers[part] = Future()
        threading.Thread(target=_load, args=(part, _tracers[part]), name="perijove-tracing", daemon=True).start()


async def tracer_of(part: Part) -> Tracer | None:
    """This process's tracer for a part, made once; None where no endpoint is configured."""
    if part not in _tracers:
        if not is_configured():
            return None
        prepare(part)
    return await asyncio.shield(asyncio.wrap_future(_tracers[part]))


def _load(part: Part, made: Future[Tracer | None]) -> None:
    tracer: Tracer | None = None
    try:
        tracer = _make_tracer(part)
        atexit.register(tracer.close)
    except ImportError:
        log.warning("traces are asked for, but OpenTelemetry is not installed; run: pip install 'perijove[otel]'")
    except Exception as error:  # noqa: BLE001 - a wrong setting of tracing must not keep anything else from working
        log.warning("there will be no traces: %s", error)
    made.set_result(tracer)


def _make_tracer(part: Part) -> Tracer:
    # Imported here, as it takes a tenth of a second and most never trace.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Without a handler of somebody's, what an endpoint that is away makes it say would appear in the notebook.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: f"perijove-{part}"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    delay_ms = None if os.environ.get(_SENT_AFTER) else _SENT_AFTER_MS
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay_ms))
    return Tracer(provider, part)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {PREFIX + name: value for name, value in attributes.items()}
