"""Who gets which GPU next. One function of the queue, the hosts and the shares; every answer has a reason for people.

Order: the user with the smaller share first (recent GPU-seconds, and what they hold now), then age. The oldest request
for several GPUs reserves the host that is nearest to fitting it, so that smaller ones cannot keep it waiting for ever;
they fill what is left. A spec that no host can ever meet is refused at once, saying what exists.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...wire.errors import NoSuchGpu
from ...wire.gpu_spec import Choice, GpuSpec
from ...wire.models import Gpu, GpuState
from .clock import BOOT_ZERO, BootMs

# A GPU held now weighs like so many GPU-seconds used: whoever holds many waits, before the bill has grown.
HELD_GPU_WEIGHT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    kernel_id: str
    user: str
    spec: GpuSpec
    asked_at: BootMs
    present: bool = True  # its client is there; nobody else's absence starts a bill
    home: str | None = None  # the agent with its suspended process
    home_until: BootMs = BOOT_ZERO
    refused_by: frozenset[str] = frozenset()  # agents that failed to bind for this request
    settles_at: BootMs = BOOT_ZERO  # until then, what does not exist may still appear


@dataclass(frozen=True, slots=True)
class Host:
    """An agent as the plan sees it; a GPU is FREE here only if no lease is on it."""

    agent_id: str
    name: str
    gpus: tuple[Gpu, ...]
    connected: bool = True
    users: frozenset[str] = frozenset()  # whose processes live there
    isolated: bool = False
    kernels: int = 0
    draining: str = ""  # why it takes no new leases: "gpu-1 is draining (asked by ann)"

    @property
    def takes_new(self) -> bool:
        return self.connected and not self.draining

    def serves(self, user: str) -> bool:
        """Without isolation kernels could read each other's files, so one user at a time."""
        return self.isolated or self.users <= {user}


@dataclass(frozen=True, slots=True)
class Grant:
    kernel_id: str
    agent_id: str
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    kernel_id: str
    reason: str
    again_at: BootMs | None = None  # when time alone may change the answer


@dataclass(frozen=True, slots=True)
class Refuse:
    kernel_id: str
    code: str
    message: str


Decision = Grant | Wait | Refuse


def plan(
    requests: Iterable[Request], hosts: Sequence[Host], shares: Mapping[str, float], now: BootMs
) -> list[Decision]:
    """Decide about every request, in fair order. ``shares``: recent GPU-seconds per user, held GPUs included."""
    return _Plan(hosts, dict(shares), now).decide(list(requests))


@dataclass(frozen=True, slots=True)
class _Bundle:
    """The GPUs of one model on one host that a choice accepts."""

    host: Host
    model: str
    gpus: tuple[Gpu, ...]


@dataclass(slots=True)
class _Plan:
    hosts: Sequence[Host]
    shares: dict[str, float]
    now: BootMs
    taken: set[tuple[str, str]] = field(default_factory=set)  # (agent, uuid) granted in this plan
    reserved: set[tuple[str, str]] = field(default_factory=set)
    reserver: str | None = None
    joined: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # users granted on a host just now
    waiting: Counter[frozenset[str]] = field(default_factory=Counter)
    _bundles: dict[Choice, list[_Bundle]] = field(default_factory=dict)
    # GPUs only become fewer within a plan: what is used up stays so, and long queues need not look again.
    _used_up: set[Choice] = field(default_factory=set)
    _scarcities: dict[tuple[Choice, ...], str] = field(default_factory=dict)

    def decide(self, requests: list[Request]) -> list[Decision]:
        self._reserve(requests)
        queues: dict[str, deque[Request]] = defaultdict(deque)
        for request in sorted(requests, key=lambda request: (request.asked_at, request.kernel_id)):
            queues[request.user].append(request)
        order = [self._turn(queue) for queue in queues.values()]
        heapq.heapify(order)
        decisions = []
        while order:
            user = heapq.heappop(order)[-1]
            request = queues[user].popleft()
            decisions.append(self._decide_one(request))
            if queues[user]:
                heapq.heappush(order, self._turn(queues[user]))
        return decisions

    def _turn(self, queue: deque[Request]) -> tuple[float, BootMs, str, str]:
        head = queue[0]
        return (self.shares.get(head.user, 0.0), head.asked_at, head.kernel_id, head.user)

    # one request ----------------------------------------------------------------------------------------------

    def _decide_one(self, request: Request) -> Decision:
        if request.spec.is_cpu:
            return self._decide_cpu(request)
        possible = [choice for choice in request.spec.choices if self._exists(choice)]
        waits_for_home = self._waits_for_home(request)
        if not possible:
            if waits_for_home or self.now < request.settles_at:
                until = request.home_until if waits_for_home else request.settles_at
                return Wait(request.kernel_id, self._wait_text(request, "no agent has reported one yet"), until)
            return Refuse(request.kernel_id, NoSuchGpu.code, self._no_such_gpu(request.spec))
        if request.present:
            for choice in possible:
                if (grant := self._place(request, choice, waits_for_home)) is not None:
                    return grant
        return self._wait(request, possible, waits_for_home)

    def _decide_cpu(self, request: Request) -> Decision:
        hosts = [host for host in self.hosts if host.connected]
        usable = [host for host in hosts if self._usable(host, request)]
        if self._waits_for_home(request):
            usable = [host for host in usable if host.agent_id == request.home]
        if usable and request.present:
            best = min(usable, key=lambda host: (host.agent_id != request.home, host.kernels, host.agent_id))
            self.joined[best.agent_id].add(request.user)
            return Grant(request.kernel_id, best.agent_id, ())
        if not hosts and self.now >= request.settles_at and not self._waits_for_home(request):
            return Refuse(
                request.kernel_id, NoSuchGpu.code, "no agent is connected to this broker; start one: perijove agent"
            )
        reason = "every agent serves another user at the moment" if hosts else "no agent is connected yet"
        if hosts and all(host.draining for host in hosts):
            reason = _draining(hosts)
        return Wait(request.kernel_id, self._wait_text(request, reason), self._again_at(request))

    def _place(self, request: Request, choice: Choice, waits_for_home: bool) -> Grant | None:
        """The best fitting free GPUs for one choice: at home, else the smallest that do on the fullest host."""
        if choice in self._used_up and request.kernel_id != self.reserver:
            return None
        best: tuple[tuple[object, ...], Host, list[Gpu]] | None = None
        room = False
        for bundle in self._bundles_of(choice):
            host = bundle.host
            free = self._free(bundle, request.kernel_id) if host.takes_new else []
            if len(free) < choice.count:
                continue
            room = True
            if waits_for_home and host.agent_id != request.home:
                continue
            if not self._usable(host, request):
                continue
            rank = (
                host.agent_id != request.home,
                free[0].memory_bytes,
                len(free) - choice.count,
                host.kernels,
                host.agent_id,
                bundle.model,
            )
            if best is None or rank < best[0]:
                best = (rank, host, free)
        if not room:
            self._used_up.add(choice)
        if best is None:
            return None
        _, host, free = best
        return self._grant(request, host, tuple(free[: choice.count]))

    def _grant(self, request: Request, host: Host, gpus: tuple[Gpu, ...]) -> Grant:
        self.taken.update((host.agent_id, gpu.uuid) for gpu in gpus)
        self.joined[host.agent_id].add(request.user)
        self._scarcities.clear()
        self.shares[request.user] = self.shares.get(request.user, 0.0) + HELD_GPU_WEIGHT_S * len(gpus)
        return Grant(request.kernel_id, host.agent_id, gpus)

    # what is there --------------------------------------------------------------------------------------------

    def _bundles_of(self, choice: Choice) -> list[_Bundle]:
        """All that the choice accepts; simulated GPUs only where no real one that it accepts is configured."""
        if choice not in self._bundles:
            found: dict[tuple[int, str], list[Gpu]] = defaultdict(list)
            for index, host in enumerate(self.hosts):
                for gpu in host.gpus:
                    if choice.accepts(gpu.model, gpu.memory_bytes):
                        found[index, gpu.model].append(gpu)
            real_only = any(not gpu.simulated for gpus in found.values() for gpu in gpus)
            bundles = []
            for (index, model), gpus in found.items():
                usable = tuple(gpu for gpu in gpus if not (real_only and gpu.simulated) and gpu.state != GpuState.LOST)
                if usable:
                    bundles.append(_Bundle(self.hosts[index], model, usable))
            self._bundles[choice] = bundles
        return self._bundles[choice]

    def _exists(self, choice: Choice) -> bool:
        return any(len(bundle.gpus) >= choice.count for bundle in self._bundles_of(choice))

    def _free(self, bundle: _Bundle, kernel_id: str) -> list[Gpu]:
        agent_id = bundle.host.agent_id
        return [
            gpu
            for gpu in bundle.gpus
            if gpu.state == GpuState.FREE
            and (agent_id, gpu.uuid) not in self.taken
            and (kernel_id == self.reserver or (agent_id, gpu.uuid) not in self.reserved)
        ]

    def _usable(self, host: Host, request: Request) -> bool:
        if not host.takes_new or host.agent_id in request.refused_by:
            return False
        joined = self.joined.get(host.agent_id)
        return host.serves(request.user) and (host.isolated or not joined or joined == {request.user})

    def _reserve(self, requests: list[Request]) -> None:
        """Hold back, for the oldest request for several GPUs, what is free where the least is missing for it."""
        multi = [r for r in requests if r.present and any(choice.count > 1 for choice in r.spec.choices)]
        for request in sorted(multi, key=lambda request: (request.asked_at, request.kernel_id)):
            best: tuple[int, str, list[Gpu], str] | None = None
            for choice in request.spec.choices:
                for bundle in self._bundles_of(choice):
                    if len(bundle.gpus) < choice.count or not self._usable(bundle.host, request):
                        continue
                    free = self._free(bundle, request.kernel_id)[: choice.count]
                    candidate = (choice.count - len(free), bundle.host.agent_id, free, bundle.model)
                    if best is None or candidate[:2] < best[:2]:
                        best = candidate
            if best is not None:
                self.reserver = request.kernel_id
                self.reserved = {(best[1], gpu.uuid) for gpu in best[2]}
                return

    # waiting, in words ----------------------------------------------------------------------------------------

    def _waits_for_home(self, request: Request) -> bool:
        return request.home is not None and request.home not in request.refused_by and self.now < request.home_until

    def _again_at(self, request: Request) -> BootMs | None:
        moments = [m for m in (request.home_until if request.home else None, request.settles_at) if m and m > self.now]
        return min(moments) if moments else None

    def _wait(self, request: Request, possible: list[Choice], waits_for_home: bool) -> Wait:
        bundles = [bundle for choice in possible for bundle in self._bundles_of(choice)]
        models = frozenset(bundle.model for bundle in bundles)
        home = next((host for host in self.hosts if host.agent_id == request.home), None) if request.home else None
        if not request.present:
            why = "its notebook is away"
        elif waits_for_home and home is not None:
            state = "has no free GPU" if home.connected else "is out of contact"
            why = f"{home.name}, which has its variables, {state}"
        else:
            why = self._scarcities.get(tuple(possible)) or self._scarcity(request, possible, bundles)
        return Wait(request.kernel_id, self._wait_text(request, why, models), self._again_at(request))

    def _wait_text(self, request: Request, why: str, models: frozenset[str] = frozenset()) -> str:
        ahead = sum(count for others, count in self.waiting.items() if others & models)
        self.waiting[models] += 1
        return f"waiting for {request.spec}: {ordinal(ahead + 1)} in line: {why}"

    def _scarcity(self, request: Request, possible: list[Choice], bundles: list[_Bundle]) -> str:
        draining = _draining([bundle.host for bundle in bundles])
        taking = [bundle for bundle in bundles if not bundle.host.draining]
        if draining and not taking:
            return draining
        gpus = {(bundle.host.agent_id, gpu.uuid): gpu for bundle in taking for gpu in bundle.gpus}
        unhealthy = [gpu for gpu in gpus.values() if gpu.state == GpuState.UNHEALTHY]
        used = sum(gpu.state != GpuState.FREE or key in self.taken for key, gpu in gpus.items())
        names = "|".join(sorted({bundle.model for bundle in taking}))
        text = f"{used - len(unhealthy)} of {len(gpus)} {names} in use"
        if unhealthy:
            text += f", {len(unhealthy)} unhealthy ({unhealthy[0].reason})"
        if draining:
            text = f"{draining}; elsewhere {text}"
        if all(not bundle.host.connected for bundle in bundles):
            return f"{bundles[0].host.name} is out of contact"
        if used < len(gpus):
            needed = min(choice.count for choice in possible)
            if needed > 1:
                return f"{text}, and {needed} are needed on one host"
            if any((key in self.reserved) for key in gpus):
                return f"{text}, the rest is kept for a request for several"
            if not all(self._usable(bundle.host, request) for bundle in taking):
                return f"{text}, the rest is on hosts that cannot take this kernel now"
        self._scarcities[tuple(possible)] = text  # where it is the same for everyone
        return text

    def _no_such_gpu(self, spec: GpuSpec) -> str:
        """What was asked for, what exists, and what to do: the whole answer a person needs."""
        counts = Counter(
            (gpu.model, gpu.simulated, host.name, f", lost: {gpu.reason}" if gpu.state is GpuState.LOST else "")
            for host in self.hosts
            for gpu in host.gpus
        )
        there = ", ".join(
            f"{number} × {'simulated ' if simulated else ''}{model} ({name}{lost})"
            for (model, simulated, name, lost), number in sorted(counts.items())
        )
        if there:
            exists = f"this broker has {there}"
        elif self.hosts:
            exists = "the connected agents have no GPU"
        else:
            exists = "no agent is connected to this broker"
        first = spec.choices[0]
        wish = str(first) if first.model else f"H100:{first.count}" if first.count > 1 else "H100"
        return (
            f"there is no {spec} here: {exists}. Ask for one of those, start `perijove agent` on a machine that "
            f"has one, or try it on stand-ins: perijove up --simulate {wish} "
            f"(for the embedded broker: PERIJOVE_SIMULATE={wish})"
        )


def _draining(hosts: Sequence[Host]) -> str:
    """One of them by name; how many more there are."""
    whys = sorted({host.draining for host in hosts if host.draining})
    return "" if not whys else whys[0] if len(whys) == 1 else f"{whys[0]}, and so are {len(whys) - 1} more agents"


def ordinal(number: int) -> str:
    """
    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
