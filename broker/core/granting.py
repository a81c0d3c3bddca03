"""From the queue to held GPUs: asks the plan, and carries out what it decides."""

from __future__ import annotations

from collections import Counter, defaultdict

from ...wire.control import Bind
from ...wire.errors import AttachFailed, VariablesElsewhere
from ...wire.models import Gpu, GpuState
from . import budget, respec
from .clock import BootMs, Now, earliest
from .lease import Event
from .prepaid import grant
from .records import Agent, Kernel
from .schedule import Grant, Host, Refuse, Request, Wait, plan
from .state import FleetState
from .wishes import leave_queue

PLAN_TIMER = "plan"


def serve_queue(state: FleetState, now: Now) -> None:
    """Plan for all who wait. Runs on the very event that may have changed the answer, not on a tick."""
    state.plan_needed = False
    _send_back_whose_home_drains(state)
    waiting = [state.kernels[kernel_id] for kernel_id in state.queued]
    requests = [_request(state, kernel) for kernel in waiting if kernel.pending is None and not kernel.restart_wish]
    if not requests:
        state.timers.set(PLAN_TIMER, None)
        return
    again_at: BootMs | None = None
    for decision in plan(requests, hosts_of(state), state.shares.at(now.boot), now.boot):
        kernel = state.kernels[decision.kernel_id]
        match decision:
            case Grant():
                _grant(state, kernel, state.agents[decision.agent_id], decision.gpus, now)
            case Refuse():
                leave_queue(state, kernel, decision.code, decision.message)
            case Wait() if kernel.refused_by:
                leave_queue(state, kernel, AttachFailed.code, kernel.last_refusal)
            case Wait():
                again_at = earliest(again_at, decision.again_at)
                if kernel.queue_reason != decision.reason:
                    kernel.queue_reason = decision.reason
                    state.touch(kernel)
    state.timers.set(PLAN_TIMER, again_at)


def _send_back_whose_home_drains(state: FleetState) -> None:
    """Variables on an agent that drains are not given up because nobody asked: who wants that is told how."""
    for kernel in [state.kernels[kernel_id] for kernel_id in state.queued]:
        if respec.drains(state, kernel) and kernel.pending is None and not kernel.restart_wish:
            leave_queue(state, kernel, VariablesElsewhere.code, respec.variables_are_draining(kernel, kernel.spec))


def _request(state: FleetState, kernel: Kernel) -> Request:
    policy = state.policy
    home = kernel.agent_id if kernel.incarnation is not None else None
    connected = home is not None and state.link_of(home) is not None
    home_wait_ms = policy.home_wait_ms if connected else policy.home_away_wait_ms
    return Request(
        kernel_id=kernel.id,
        user=kernel.user,
        spec=kernel.spec,
        asked_at=kernel.asked_at,
        present=kernel.link_id is not None and bool(kernel.attaches),
        home=home,
        home_until=BootMs(kernel.asked_at + home_wait_ms),
        refused_by=frozenset(kernel.refused_by),
        settles_at=_settles_at(state, kernel),
    )


def _settles_at(state: FleetState, kernel: Kernel) -> BootMs:
    """Until when a wish that nothing can meet waits: an agent may be about to connect, for the first time or again."""
    policy = state.policy
    if len(state.agents_seen) < policy.expect_agents:
        return BootMs(state.started.boot + policy.expect_for_ms)
    connected = [agent.link_id is not None for agent in state.agents.values()]
    just_started = kernel.asked_at < state.started.boot + policy.expect_for_ms
    if connected and all(connected) and not just_started:
        return kernel.asked_at
    return BootMs(kernel.asked_at + policy.settle_ms)


def hosts_of(state: FleetState) -> list[Host]:
    """The agents as the plan sees them: a GPU on which a lease is open is not free, whatever an old inventory says."""
    users: dict[str, set[str]] = defaultdict(set)
    kernels: Counter[str] = Counter()
    for kernel in state.kernels.values():
        if kernel.agent_id is not None and (kernel.incarnation is not None or kernel.lease is not None):
            users[kernel.agent_id].add(kernel.user)
            kernels[kernel.agent_id] += 1
    return [
        Host(
            agent_id=agent.id,
            name=agent.name,
            gpus=tuple(_as_planned(state, agent, gpu) for gpu in agent.gpus.values()),
            connected=agent.link_id is not None,
            users=frozenset(users[agent.id]),
            isolated=agent.isolated,
            kernels=kernels[agent.id],
            draining=str(state.drains.get(agent.id, "")),
        )
        for agent in state.agents.values()
    ]


def _as_planned(state: FleetState, agent: Agent, gpu: Gpu) -> Gpu:
    if gpu.state is GpuState.FREE and state.is_held(agent, gpu):
        return gpu.model_copy(update={"state": GpuState.HELD})
    return gpu


def _grant(state: FleetState, kernel: Kernel, agent: Agent, gpus: tuple[Gpu, ...], now: Now) -> None:
    """Hold the GPUs, open the lease, and have the agent bind. The ledger's commit runs beside it (docs/billing.md)."""
    rate, name = state.price_of(gpus) * max(1, len(gpus)), gpus[0].model if gpus else "cpu"
    money = {any(gpu.simulated for gpu in gpus)}
    if why := budget.refusal(kernel, now.boot, money, rate, name if len(gpus) < 2 else f"{len(gpus)} × {name}"):
        leave_queue(state, kernel, budget.CODE, why)
        state.plan_needed = True  # for those who would have had these GPUs
        return
    if kernel.incarnation is not None and kernel.agent_id is not None and kernel.agent_id != agent.id:
        home = kernel.agent_name
        state.end_process(kernel.agent_id, kernel.id)
        state.lose_process(
            kernel, f"{home}, which kept your variables, could not run this kernel again; they are lost."
        )
    lease = state.open_lease(kernel, agent, gpus, now, state.new_id("lease"))
    state.move(kernel, Event.GRANTED)
    kernel.queue_reason = ""
    kernel.binds_tried += 1
    request_id = state.new_id("request")
    state.tell_agent(
        agent.id,
        Bind(
            request_id=request_id,
            kernel_id=kernel.id,
            user=kernel.user,
            lease_id=lease.record.id,
            gpus=list(lease.record.gpus),
            incarnation=kernel.incarnation,
            allowance_s=state.policy.allowance_ms / 1000,
            limit_ms=grant(lease, kernel.purse, budget.kernel_limit_ms(kernel), state.policy),
            session=kernel.session,
        ),
        after_commit=bool(kernel.purse.shared_limits),  # what it is granted must never be granted to another
    )
    state.expect(kernel, "bind", request_id, now)
