"""The metrics in Prometheus's data model: what is counted (``metrics``) and what the fleet is at this moment.

Everything is collected when it is asked for, in the event loop, so one scrape is one consistent moment. Each broker has
a registry of its own. ``docs/operators.md`` says what each metric means; a test holds the two together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate
from platform import python_version
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from ...wire.models import KernelState
from ..api.documents import AGENT_STATES, agent_state
from ..core.lease import STATES
from .metrics import Histogram

if TYPE_CHECKING:
    from ..broker import Broker

PREFIX = "perijove_"
NANODOLLARS_PER_DOLLAR = 1e9


def registry_of(broker: Broker) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(BrokerCollector(broker))
    return registry


class BrokerCollector(Collector):
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def describe(self) -> list[Metric]:
        """Nothing: registering must not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._broker_itself()
        yield from self._queue()
        yield from self._kernels()
        yield from self._agents()
        yield from self._devices()
        yield from self._leases()
        yield from self._attaches()
        yield from self._relay()
        yield from self._links()
        yield from self._ledger()
        yield from self._requests()

    def _broker_itself(self) -> Iterator[Metric]:
        broker = self._broker
        build = {"version": broker.version, "python": python_version()}
        yield InfoMetricFamily(PREFIX + "build", "The broker's version.", value=build)
        started = broker.started.wall / 1000
        yield GaugeMetricFamily(PREFIX + "start_time_seconds", "When the broker started, Unix time.", value=started)

    def _queue(self) -> Iterator[Metric]:
        fleet, now = self._broker.fleet, self._broker.now().boot
        waits: dict[str, list[float]] = defaultdict(list)
        for kernel in fleet.living_kernels():
            if kernel.state is KernelState.QUEUED:
                waits[str(kernel.spec)].append((now - kernel.asked_at) / 1000)
        depth = _gauge("queue_kernels", "Kernels that wait for a GPU, by what they ask for.", "spec")
        oldest = _gauge("queue_oldest_seconds", "How long the first of them has waited.", "spec")
        for spec, seconds in sorted(waits.items()):
            depth.add_metric([spec], len(seconds))
            oldest.add_metric([spec], max(seconds))
        yield from (depth, oldest)

    def _kernels(self) -> Iterator[Metric]:
        found = Counter(kernel.state for kernel in self._broker.fleet.living_kernels())
        kernels = _gauge("kernels", "Kernels by state.", "state")
        for state in STATES:
            if state is not KernelState.TERMINATED:
                kernels.add_metric([state.value], found[state])
        yield kernels

    def _agents(self) -> Iterator[Metric]:
        agents = list(self._broker.fleet.agents.values())
        connected = [agent for agent in agents if agent.link_id is not None]
        states = _gauge("agents", "Agents by what they take on; those away may still hold something.", "state")
        counts = Counter(agent_state(self._broker, agent) for agent in agents)
        for state in AGENT_STATES:
            states.add_metric([state], counts[state])
        spares = _gauge("spares", "Processes that wait ready on a connected agent.", "agent")
        gpus = _gauge("gpus", "GPUs of connected agents, by state as their agents say.", "gpu", "state", "simulated")
        found: Counter[tuple[str, str, bool]] = Counter()
        for agent in connected:
            spares.add_metric([agent.id], agent.spares)
            found.update((gpu.model, gpu.state.value, gpu.simulated) for gpu in agent.gpus.values())
        for (model, state, simulated), count in sorted(found.items()):
            gpus.add_metric([model, state, _flag(simulated)], count)
        yield from (states, spares, gpus)

    def _devices(self) -> Iterator[Metric]:
        """What each device does, where its agent has said so lately and its driver can say it."""
        broker, now = self._broker, self._broker.now()
        labels = ("agent", "index", "gpu", "simulated")
        busy = _gauge("gpu_utilization_ratio", "The part of the last second in which work ran on a GPU.", *labels)
        memory = _gauge("gpu_memory_used_bytes", "GPU memory in use.", *labels)
        power = _gauge("gpu_power_watts", "What a GPU draws.", *labels)
        heat = _gauge("gpu_temperature_celsius", "How hot a GPU is.", *labels)
        errors = _gauge("gpu_uncorrected_ecc_errors", "Memory errors since the driver was loaded.", *labels)
        text = "Errors that the driver has reported (Xids), since the agent began."
        xids = _counter("gpu_xid_errors", text, *labels, "xid")
        for agent in broker.fleet.agents.values():
            for gpu in sorted(agent.gpus.values(), key=lambda gpu: gpu.order):
                sample = broker.usage.gpu(agent.id, gpu.uuid, now)
                if sample is None:
                    continue
                values = [agent.id, gpu.place, gpu.model, _flag(gpu.simulated)]
                _add(busy, values, sample.utilization_percent, 100)
                _add(memory, values, sample.memory_used_bytes)
                _add(power, values, sample.power_milliwatts, 1000)
                _add(heat, values, sample.temperature_celsius)
                _add(errors, values, sample.uncorrected_ecc_errors)
                for xid, count in sorted((sample.xid_errors or {}).items()):
                    xids.add_metric([*values, str(xid)], count)
        yield from (busy, memory, power, heat, errors, xids)

    def _leases(self) -> Iterator[Metric]:
        metrics = self._broker.metrics
        open_now: Counter[tuple[str, bool]] = Counter()
        rate: Counter[tuple[str, bool]] = Counter()
        for kernel in self._broker.fleet.kernels.values():
            if kernel.lease is not None:
                record = kernel.lease.record
                open_now[record.model, record.simulated] += 1
                rate[record.model, record.simulated] += record.nanodollars_per_ms
        leases = _gauge("leases_open", "Leases that are open now.", "gpu", "simulated")
        rates = _gauge("spend_rate_dollars_per_second", "What the open leases cost.", "gpu", "simulated")
        for (model, simulated), count in sorted(open_now.items()):
            leases.add_metric([model, _flag(simulated)], count)
            per_second = rate[model, simulated] * 1000
            rates.add_metric([model, _flag(simulated)], per_second / NANODOLLARS_PER_DOLLAR)
        opened = _counter("leases_opened", "Leases opened.", "gpu", "simulated")
        for (model, simulated), count in sorted(metrics.leases_opened.items()):
            opened.add_metric([model, _flag(simulated)], count)
        closed = _counter(
            "leases_closed", "Leases closed; confirmed by their agent or not.", "gpu", "simulated", "confirmed"
        )
        for (model, simulated, confirmed), count in sorted(metrics.leases_closed.items()):
            closed.add_metric([model, _flag(simulated), _flag(confirmed)], count)
        ran = _counter("lease_seconds", "Leased time that agents have proven, by phase.", "gpu", "simulated", "phase")
        for (model, simulated, phase), ms in sorted(metrics.ran_ms.items()):
            ran.add_metric([model, _flag(simulated), phase], ms / 1000)
        spent = _counter(
            "spend_dollars", "What leases have cost, as proven; simulated money is none.", "gpu", "simulated"
        )
        for (model, simulated), nanodollars in sorted(metrics.spent_nanodollars.items()):
            spent.add_metric([model, _flag(simulated)], nanodollars / NANODOLLARS_PER_DOLLAR)
        yield from (leases, rates, opened, closed, ran, spent)

    def _attaches(self) -> Iterator[Metric]:
        metrics = self._broker.metrics
        text = "From asking for a GPU to having it, by phase: queued, starting, and both (total)."
        attaches = HistogramMetricFamily(PREFIX + "attach_duration_seconds", text, labels=["phase", "gpu"])
        for (phase, model), histogram in sorted(metrics.attaches.items()):
            attaches.add_metric([phase, model], *_buckets(histogram))
        yield attaches
        yield _counter("bind_failures", "Attaches that an agent could not carry out.", value=metrics.binds_failed)

    def _relay(self) -> Iterator[Metric]:
        relay = self._broker.relay
        messages = _counter("relay_messages", "Messages handed on between clients and processes.", "direction")
        size = _counter("relay_bytes", "Bytes handed on between clients and processes.", "direction")
        for direction, traffic in (("to_process", relay.to_process), ("to_client", relay.to_client)):
            messages.add_metric([direction], traffic.messages)
            size.add_metric([direction], traffic.bytes)
        yield from (messages, size)
        text = "Messages missing between two that a client got over one link. Anything but 0 is a bug."
        yield _counter("relay_messages_dropped", text, value=relay.dropped)
        text = "Messages not handed on as the other end was away; their sender keeps them and sends them again."
        yield _counter("relay_messages_kept_back", text, value=relay.kept_back)

    def _links(self) -> Iterator[Metric]:
        metrics, relay = self._broker.metrics, self._broker.relay
        opened = _counter("links_opened", "Links opened: first, again, or replacing one that was open.", "kind", "how")
        for kind in ("agent", "client"):
            for how in ("first", "again", "replacing"):
                opened.add_metric([kind, how], metrics.links_opened[kind, how])
        yield opened
        text = "Clients that had to connect anew because the link to their process was cut."
        yield _counter("resumes_ordered", text, value=relay.resumes_ordered)

    def _ledger(self) -> Iterator[Metric]:
        metrics = self._broker.metrics
        text = "From handing something to the ledger until it is on disk."
        buckets, total = _buckets(metrics.ledger_delay)
        yield HistogramMetricFamily(PREFIX + "ledger_delay_seconds", text, buckets=buckets, sum_value=total)
        yield _counter("ledger_failures", "What the ledger could not carry out.", value=metrics.ledger_failures)

    def _requests(self) -> Iterator[Metric]:
        requests = _counter("http_requests", "HTTP requests answered.", "method", "route", "status")
        for (method, route, status), count in sorted(self._broker.metrics.requests.items()):
            requests.add_metric([method, route, str(status)], count)
        yield requests


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, *labels: str, value: float | None = None) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels or None, value=value)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative, as Prometheus has them."""
    names = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(names, accumulate(histogram.counts), strict=True)), histogram.total


def _add(gauge: GaugeMetricFamily, labels: list[str], value: float | None, divisor: int = 1) -> None:
    if value is not None:
        gauge.add_metric(labels, value / divisor)


def _flag(value: bool) -> str:
    return "true" if value else "false"
