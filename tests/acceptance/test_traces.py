"""Traces of attaches, as an OpenTelemetry collector gets them from a real notebook, broker and agent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .conftest import perijove
from .kernel.conftest import installed
from .kernel.front_end import GPU_KERNEL, FrontEnd
from .notebook_kernel import NotebookKernel
from .nvidia_driver import Driver
from .observing import wait_until


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    start_ns: int
    end_ns: int
    code: str  # of what went wrong
    attributes: dict[str, Any]
    raw: str


class Collector:
    """An OTLP receiver: what arrives at ``/v1/traces``, decoded."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf":
                    collector._take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {
                        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes
                    }
                    self._spans.append(
                        Span(
                            about["service.name"],
                            span.name,
                            span.trace_id,
                            span.span_id,
                            span.parent_span_id,
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            span.status.message,
                            attributes,
                            str(span),
                        )
                    )

    def named(self, name: str = "") -> list[Span]:
        """In the order in which they began."""
        return sorted((span for span in self._spans if name in ("", span.name)), key=lambda span: span.start_ns)

    def traces(self) -> list[dict[str, Span]]:
        """Each trace's spans by "service name", in the order in which they began."""
        found: dict[bytes, dict[str, Span]] = {}
        for span in self.named():
            found.setdefault(span.trace, {})[f"{span.service.removeprefix('perijove-')} {span.name}"] = span
        return list(found.values())

    def until(self, condition: Callable[[dict[str, Span]], bool]) -> dict[str, Span]:
        """The first trace of which that is true."""
        wait_until(lambda: any(condition(trace) for trace in self.traces()))
        return next(trace for trace in self.traces() if condition(trace))


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def traced_env(own_env: dict[str, str], collector: Collector) -> dict[str, str]:
    own_env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    own_env["OTEL_BSP_SCHEDULE_DELAY"] = "200"
    return own_env


PARENTS = {
    "broker attach": "client attach",
    "broker queued": "broker attach",
    "broker starting": "broker attach",
    "agent bind": "broker starting",
    "agent process": "agent bind",
    "agent lock": "agent bind",
    "agent process bind": "agent bind",
    "agent first cell": "agent bind",
}


def test_one_trace_from_the_notebook_to_the_kernels_first_cell(
    traced_env: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    with NotebookKernel(traced_env, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        assert notebook.run("%%gpu H100\nsecret_name = 'secret code'\nprint('done')", timeout_s=60).ok
        trace = collector.until(lambda trace: len(trace) == len(PARENTS) + 1)
        assert {"client attach", *PARENTS} == trace.keys()
        assert not trace["client attach"].parent
        for name, parent in PARENTS.items():
            assert trace[name].parent == trace[parent].id, name
            assert trace[parent].start_ns <= trace[name].start_ns, name
            if name != "agent first cell":  # the bind is over then
                assert trace[name].end_ns <= trace[parent].end_ns or parent == "broker starting", name
        order = ["broker queued", "broker starting", "agent bind", "agent process", "agent lock", "agent process bind"]
        starts = [trace[name].start_ns for name in [*order, "agent first cell"]]
        assert starts == sorted(starts)
        assert all(not span.code for span in trace.values())
        starting = trace["broker starting"].attributes
        assert (starting["perijove.gpu"], starting["perijove.simulated"]) == ("H100", True)
        assert trace["agent process"].attributes["perijove.process"] in ("spare", "new")
        for name in ("client attach", "broker attach", "agent bind"):
            assert trace[name].attributes["perijove.lease"] == starting["perijove.lease"], name
        told = "".join(span.raw for span in trace.values())
        assert "secret" not in told
        token = (Path(traced_env["PERIJOVE_DATA"]) / "embedded" / "token").read_text().strip()
        assert token not in told

        notebook.run("%gpu release")
        assert notebook.run("%%gpu H100\nprint(secret_name)").ok
        resumed = collector.until(
            lambda other: "agent first cell" in other and other["agent bind"].trace != trace["agent bind"].trace
        )
        assert resumed["agent process"].attributes["perijove.process"] == "resumed"


def test_a_gpu_kernel_is_a_client_like_any(traced_env: dict[str, str], collector: Collector, tmp_path: Path) -> None:
    with FrontEnd(GPU_KERNEL, installed(traced_env, tmp_path / "prefix"), tmp_path) as kernel:
        assert kernel.run("print('done')").stdout == "done\n"
        trace = collector.until(lambda trace: len(trace) == len(PARENTS) + 1)
    assert {name: trace[name].parent for name in PARENTS} == {name: trace[up].id for name, up in PARENTS.items()}
    assert trace["client attach"].attributes["perijove.gpu"] == "H100"


def test_a_trace_of_one_who_waits_and_leaves_and_of_one_who_is_refused(
    traced_env: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    traced_env["PERIJOVE_SIMULATE"] = "H100:1"
    with NotebookKernel(traced_env, tmp_path) as first, NotebookKernel(traced_env, tmp_path) as second:
        for each in (first, second):
            each.run("%load_ext perijove")
        assert first.run("%%gpu H100\npass", timeout_s=60).ok
        cell = second.start("%%gpu H100\npass")
        second.wait_for_display(cell, "waiting for H100")
        second.interrupt()
        second.finish(cell)
        parts = {"client attach", "broker attach", "broker queued"}
        left = collector.until(lambda trace: trace.keys() == parts and bool(trace["broker queued"].code))
        assert left["broker attach"].code == left["broker queued"].code == "attach_cancelled"
        assert left["client attach"].code in ("cancelled", "attach_cancelled")
        assert left["broker queued"].attributes["perijove.reason"].startswith("waiting for H100: 1st in line")

        second.run("%%gpu B200\npass")
        both = {"client attach", "broker attach"}  # and it may have waited for what an agent might still bring
        refused = collector.until(lambda trace: both <= trace.keys() and trace["client attach"].code == "no_such_gpu")
        assert refused["broker attach"].code == "no_such_gpu"
        assert "agent bind" not in refused


def test_an_endpoint_that_is_away_disturbs_nobody(own_env: dict[str, str], tmp_path: Path) -> None:
    own_env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    own_env["OTEL_BSP_SCHEDULE_DELAY"] = "100"
    with NotebookKernel(own_env, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        result = notebook.run("%%gpu H100\nprint('done')", timeout_s=60)
        assert (result.stdout, result.stderr) == ("done\n", "")
        assert notebook.run("import time; time.sleep(1)").stderr == ""


@pytest.fixture
def two_agents(traced_env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Two agents with an H100 each. The first looks as if it could be had, and cannot: its locks have no safe place."""
    environment = {name: value for name, value in traced_env.items() if name != "PERIJOVE_SIMULATE"}
    command = [sys.executable, "-m", "perijove.cli"]
    broker = subprocess.Popen([*command, "broker", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True)
    started = [broker]
    try:
        assert broker.stdout is not None
        found = re.search(r"http://\S+:\d+", broker.stdout.readline())
        assert found is not None
        user = perijove(environment, "token", "create", "--role", "user", "--name", "ada").strip()
        token = tmp_path / "agent.token"
        token.write_text(perijove(environment, "token", "create", "--role", "agent", "--name", "agents"))
        # The smaller GPU that will do is asked for first.
        for name, model, memory in (("broken", "NVIDIA H100 PCIe", 81559), ("fine", "NVIDIA H100 NVL", 95830)):
            directory = tmp_path / name
            directory.mkdir()
            driver = Driver(directory)
            driver.has(f"GPU-{name}|{model}|{memory}|0|0|\n")
            if name == "broken":
                (directory / "locks").write_text("no directory")
            arguments = ["--broker", found[0], "--token-file", str(token), "--name", name, "--data", f"{directory}/d"]
            started.append(subprocess.Popen([*command, "agent", *arguments], env=environment | driver.environment))
        yield environment | {"PERIJOVE_URL": found[0], "PERIJOVE_TOKEN": user}
    finally:
        for process in reversed(started):
            process.terminate()
            assert process.wait(15) in (0, -15)
        assert broker.stdout is not None
        broker.stdout.close()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler, so no stand-in for NVIDIA's library")
def test_a_trace_of_a_bind_that_failed_and_was_tried_elsewhere(
    two_agents: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    def agents() -> list[str]:
        return [a["name"] for a in json.loads(perijove(two_agents, "status", "--json"))["agents"] if a["gpus"]]

    wait_until(lambda: sorted(agents()) == ["broken", "fine"])
    with NotebookKernel(two_agents, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        assert notebook.run("%%gpu H100\nprint('done')", timeout_s=60).stdout == "done\n"
    parts = ["attach", "attach", "queued", "starting", "queued", "starting", *["bind", "process", "lock"] * 2]
    wait_until(lambda: len(collector.named()) == len([*parts, "process bind", "first cell"]))
    spans = collector.named()
    assert sorted(span.name for span in spans) == sorted([*parts, "process bind", "first cell"])
    assert len({span.trace for span in spans}) == 1
    failed, succeeded = collector.named("starting")
    assert [span.attributes["perijove.agent"] for span in (failed, succeeded)] == ["broken", "fine"]
    assert [span.code for span in (failed, succeeded)] == ["gpu_unavailable", ""]
    binds = collector.named("bind")
    assert [(span.parent, span.code) for span in binds] == [(failed.id, "gpu_unavailable"), (succeeded.id, "")]
    assert [span.code for span in collector.named("lock")] == ["gpu_unavailable", ""]
    assert len(collector.named("queued")) == 2
    assert failed.end_ns <= succeeded.start_ns
    assert all(not span.code for span in collector.named("attach"))
