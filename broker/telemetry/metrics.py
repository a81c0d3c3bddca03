"""What the broker counts for those who run it: leases, money, attaches, links, requests and the ledger's delay.

Only what cannot be read off the fleet at any moment is counted here; ``exposition`` does the rest. The counts are made
of the core's events and instructions, so the core knows nothing of them. Money is counted as the ledger writes it, in
whole nano-dollars that agents have proven, and so agrees with the bill.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from math import ceil

from ...wire.control import Bind, BindFailed, Bound
from ...wire.models import KernelState
from ..core import instructions as do
from ..core.clock import BootMs
from ..core.events import AgentConnected, AgentLinkClosed, AgentSaid, ClientLinkClosed, ClientLinkOpened, FleetEvent
from ..core.fleet import Fleet
from ..core.meter import Durations
from ..core.records import LeaseRecord

ATTACH_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
LEDGER_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ATTACH_PHASES = ("queued", "starting", "total")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
RECENT_ATTACHES = 1000
MOST_REMEMBERED = 10_000  # leases of which late proof may come; agents that have linked


@dataclass(slots=True)
class Histogram:
    """How often a value was up to each bound, and their sum. Written by one thread, read by any."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)  # one more than there are bounds: what is above all of them
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class RecentAttaches:
    """How long each of the latest attaches took, by phase, in milliseconds: exact, where buckets have to guess."""

    _taken: deque[dict[str, int]] = field(default_factory=lambda: deque(maxlen=RECENT_ATTACHES))
    _quantiles: dict[str, dict[str, float]] | None = None

    def add(self, taken_ms: dict[str, int]) -> None:
        self._taken.append(taken_ms)
        self._quantiles = None

    def quantiles(self) -> dict[str, dict[str, float]]:
        """By phase: seconds that half, 95 % and 99 % of them did not exceed (nearest rank), and of how many. Empty
        before the first one."""
        if self._quantiles is None:
            self._quantiles = {}
            for phase in ATTACH_PHASES if self._taken else ():
                inorder = sorted(taken[phase] for taken in self._taken)
                ranks = {name: inorder[ceil(part * len(inorder)) - 1] / 1000 for name, part in QUANTILES.items()}
                self._quantiles[phase] = {**ranks, "count": len(inorder)}
        return self._quantiles


@dataclass(slots=True)
class _Counted:
    """A lease, and how much of it is in the counters."""

    lease: LeaseRecord
    durations: Durations


@dataclass(slots=True)
class Metrics:
    """Counters of one broker since it started. GPUs are models, ``cpu`` where there is none."""

    attaches: dict[tuple[str, str], Histogram] = field(default_factory=dict)  # phase, GPU
    recent_attaches: RecentAttaches = field(default_factory=RecentAttaches)
    binds_failed: int = 0
    leases_opened: Counter[tuple[str, bool]] = field(default_factory=Counter)  # GPU, simulated
    leases_closed: Counter[tuple[str, bool, bool]] = field(default_factory=Counter)  # GPU, simulated, confirmed
    ran_ms: Counter[tuple[str, bool, str]] = field(default_factory=Counter)  # GPU, simulated, phase
    spent_nanodollars: Counter[tuple[str, bool]] = field(default_factory=Counter)  # GPU, simulated
    links_opened: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind, how
    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # method, route, status
    ledger_delay: Histogram = field(default_factory=lambda: Histogram(LEDGER_BOUNDS_S))
    ledger_failures: int = 0
    _asked: dict[str, tuple[str, BootMs]] = field(default_factory=dict)  # lease → kernel, since when it is waited for
    _leases: dict[str, _Counted] = field(default_factory=dict)
    _linked: dict[tuple[str, str], str | None] = field(default_factory=dict)  # kind, kernel or agent → open link

    def take_up(self, fleet: Fleet) -> None:
        """What the ledger knew when the broker started is the ground on which is counted."""
        for kernel in fleet.kernels.values():
            if kernel.lease is not None:
                record = kernel.lease.record
                self._leases[record.id] = _Counted(record, kernel.lease.meter.proven)
        for unconfirmed in fleet.state.closed_unconfirmed.values():
            record = unconfirmed.lease
            self._leases[record.id] = _Counted(record, record.durations)

    def happened(self, event: FleetEvent, instructions: list[do.Instruction], fleet: Fleet, now: BootMs) -> None:
        """After an event was dealt with."""
        for instruction in instructions:
            match instruction:
                case do.ToAgent(_, Bind() as bind):
                    if (kernel := fleet.kernel(bind.kernel_id)) is not None:
                        self._asked[bind.lease_id] = (kernel.id, kernel.asked_at)
                case do.OpenLease() | do.RenewLease() | do.CloseLease() | do.AdjustLease():
                    self._count_lease(instruction)
                case do.ForgetKernel(kernel_id):
                    self._linked.pop(("client", kernel_id), None)
        match event:
            case AgentSaid(message=Bound() as bound):
                self._may_be_attached(bound.lease_id, fleet, now)
            case AgentSaid(message=BindFailed()):
                self.binds_failed += 1
            case AgentConnected():
                self._link_opened("agent", event.hello.agent_id, event.link_id)
                for lease_id in list(self._asked):
                    self._may_be_attached(lease_id, fleet, now)
            case AgentLinkClosed():
                self._link_closed("agent", event.agent_id, event.link_id)
            case ClientLinkOpened() if fleet.kernel(event.kernel_id) is not None:
                self._link_opened("client", event.kernel_id, event.link_id)
            case ClientLinkClosed():
                self._link_closed("client", event.kernel_id, event.link_id)

    # attaches -------------------------------------------------------------------------------------------------------

    def _may_be_attached(self, lease_id: str, fleet: Fleet, now: BootMs) -> None:
        kernel_id, asked_at = self._asked.get(lease_id, ("", now))
        kernel = fleet.kernel(kernel_id)
        if kernel is None or kernel.lease is None or kernel.state is not KernelState.ATTACHED:
            return
        if kernel.lease.record.id != lease_id:
            return
        del self._asked[lease_id]
        model, held_at = kernel.lease.record.model, kernel.lease.meter.started
        spans = dict(zip(ATTACH_PHASES, (held_at - asked_at, now - held_at, now - asked_at), strict=True))
        taken_ms = {phase: max(0, ms) for phase, ms in spans.items()}
        self.recent_attaches.add(taken_ms)
        for phase, ms in taken_ms.items():
            self.attaches.setdefault((phase, model), Histogram(ATTACH_BOUNDS_S)).observe(ms / 1000)

    # leases ---------------------------------------------------------------------------------------------------------

    def _count_lease(self, instruction: do.OpenLease | do.RenewLease | do.CloseLease | do.AdjustLease) -> None:
        match instruction:
            case do.OpenLease(lease):
                self.leases_opened[lease.model, lease.simulated] += 1
                self._leases[lease.id] = _Counted(lease, lease.durations)
            case do.RenewLease(lease_id, durations):
                self._count_time(lease_id, durations)
            case do.CloseLease(lease_id, durations, _, confirmed):
                self._count_time(lease_id, durations)
                self._asked.pop(lease_id, None)
                if (counted := self._leases.get(lease_id)) is not None:
                    self.leases_closed[counted.lease.model, counted.lease.simulated, confirmed] += 1
                    if confirmed:
                        del self._leases[lease_id]
                    elif len(self._leases) > MOST_REMEMBERED:
                        del self._leases[next(iter(self._leases))]
            case do.AdjustLease(lease_id, durations):
                self._count_time(lease_id, durations)
                self._leases.pop(lease_id, None)

    def _count_time(self, lease_id: str, durations: Durations) -> None:
        """What was proven since it was counted last."""
        counted = self._leases.get(lease_id)
        if counted is None or durations.total_ms < counted.durations.total_ms:
            return
        lease, before = counted.lease, counted.durations
        more_ms = durations.total_ms - before.total_ms
        self.spent_nanodollars[lease.model, lease.simulated] += more_ms * lease.nanodollars_per_ms
        for phase, ms in (
            ("starting", durations.starting_ms - before.starting_ms),
            ("busy", durations.busy_ms - before.busy_ms),
            ("idle", durations.idle_ms - before.idle_ms),
        ):
            self.ran_ms[lease.model, lease.simulated, phase] += max(0, ms)  # a corrected report may move some
        counted.durations = durations

    # links ----------------------------------------------------------------------------------------------------------

    def _link_opened(self, kind: str, subject: str, link_id: str) -> None:
        key = (kind, subject)
        how = "first" if key not in self._linked else "again" if self._linked[key] is None else "replacing"
        self.links_opened[kind, how] += 1
        if kind == "agent" and len(self._linked) > MOST_REMEMBERED:
            self._linked = {known: link for known, link in self._linked.items() if link is not None}
        self._linked[key] = link_id

    def _link_closed(self, kind: str, subject: str, link_id: str) -> None:
        if self._linked.get((kind, subject)) == link_id:
            self._linked[kind, subject] = None

    # the ledger -----------------------------------------------------------------------------------------------------

    def ledger_committed(self, delay_s: float) -> None:
        """From the ledger's thread, for each thing that was handed to it."""
        self.ledger_delay.observe(delay_s)

    def ledger_failed(self) -> None:
        self.ledger_failures += 1
