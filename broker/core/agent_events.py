"""What agents report: they know what runs and what they hold; the broker believes it, within what it saw itself."""

from __future__ import annotations

from ...wire.control import (
    Activity,
    BindFailed,
    Bound,
    Ended,
    FromAgent,
    Inventory,
    LeaseReport,
    NotIdle,
    ProcessEnded,
    Released,
    Renew,
    Renewed,
)
from ...wire.errors import AttachFailed
from ...wire.models import BudgetScope, GpuState, KernelState
from . import budget, draining
from . import instructions as do
from .clock import Now
from .lease import HOLDS_GPU, Event
from .meter import Durations, capped
from .prepaid import grant, is_promised_twice, runs_short
from .records import Agent, Kernel
from .respec import spec_is_met
from .state import FleetState
from .wishes import leave_queue, restart_is_done, settle

MOST_BINDS = 4  # tries per attach, on other GPUs or agents, before the user hears of it


def agent_said(state: FleetState, agent: Agent, message: FromAgent, now: Now) -> None:
    match message:
        case Renew():
            _renew(state, agent, message, now)
        case Activity():
            _activity(state, agent, message, now)
        case Bound():
            _bound(state, agent, message, now)
        case BindFailed():
            _bind_failed(state, agent, message, now)
        case Released():
            _released(state, agent, message, now)
        case NotIdle():
            _not_idle(state, agent, message, now)
        case ProcessEnded():
            _process_ended(state, agent, message, now)
        case Ended():
            _ended(state, agent, message, now)
        case Inventory():
            agent.gpus = {gpu.uuid: gpu for gpu in message.gpus}
            agent.spares, agent.draining = message.spares, message.draining
            draining.agent_has_said(state, agent)
            state.plan_needed = True
        case _:
            state.closes.append(do.CloseLink(agent.link_id or "", f"a second {message.type!r} on one link"))


def _kernel_on(state: FleetState, agent: Agent, kernel_id: str) -> Kernel | None:
    kernel = state.kernels.get(kernel_id)
    return kernel if kernel is not None and kernel.agent_id == agent.id else None


def _holder(state: FleetState, agent: Agent, kernel_id: str, lease_id: str) -> Kernel | None:
    """The kernel, if this lease of this agent is the one it holds now."""
    kernel = _kernel_on(state, agent, kernel_id)
    return kernel if kernel and kernel.lease and kernel.lease.record.id == lease_id else None


def _renew(state: FleetState, agent: Agent, message: Renew, now: Now) -> None:
    """Grant each known lease a further allowance; one that is not named is unknown, and the agent lets go of it."""
    leases = {
        kernel.lease.record.id: kernel
        for kernel in state.kernels.values()
        if kernel.lease is not None and kernel.lease.record.agent_id == agent.id
    }
    allowances, limits = {}, {}
    for report in message.leases:
        kernel = leases.get(report.lease_id)
        if kernel is None or kernel.lease is None:
            continue
        lease = kernel.lease
        durations = state.take_report(lease, report, now)
        if agent.tells_limits and lease.limit_reported(report.limit_ms):
            state.drawn.add(kernel.user)  # what it gave back is there for others
        state.out.append(do.RenewLease(report.lease_id, durations, now.wall))
        allowances[report.lease_id] = state.policy.allowance_ms / 1000
        limit_ms = grant(lease, kernel.purse, budget.kernel_limit_ms(kernel), state.policy)
        if limit_ms is not None:
            limits[report.lease_id] = limit_ms
        if is_promised_twice(kernel.purse, simulated=lease.record.simulated) or runs_short(
            lease, kernel.purse, state.policy
        ):
            state.drawn.add(kernel.user)
        state.touch(kernel)
    state.tell_agent(agent.id, Renewed(allowances_s=allowances, limits_ms=limits))
    if not agent.caught_up:
        agent.caught_up = True
        _hold_nothing_back(state, agent)


def _hold_nothing_back(state: FleetState, agent: Agent) -> None:
    """An agent says what it had kept for the broker before its first Renew: no more proof of older leases will come."""
    for unconfirmed in state.closed_unconfirmed.values():
        if unconfirmed.lease.agent_id == agent.id:
            state.hold_nothing_back(unconfirmed.lease)


def _activity(state: FleetState, agent: Agent, message: Activity, now: Now) -> None:
    kernel = _kernel_on(state, agent, message.kernel_id)
    if kernel is None or kernel.incarnation != message.incarnation:
        return
    kernel.keepable = message.keepable
    if kernel.state is KernelState.ATTACHED:
        state.set_busy(kernel, busy=message.busy, gpu_quiet=message.gpu_quiet, now=now)


def _bound(state: FleetState, agent: Agent, message: Bound, now: Now) -> None:
    kernel = _holder(state, agent, message.kernel_id, message.lease_id)
    if kernel is None:
        unknown = state.kernels.get(message.kernel_id)
        if unknown is None or (unknown.agent_id != agent.id and not unknown.ended):
            state.end_process(agent.id, message.kernel_id)
        return
    if kernel.pending is None or kernel.pending.question not in ("bind", "restart"):
        return
    process_is_bound(state, kernel, message.incarnation, now, restarted=kernel.pending.question == "restart")
    assert kernel.lease is not None
    state.take_report(kernel.lease, message.report, now)
    settle(state, kernel, now)


def process_is_bound(state: FleetState, kernel: Kernel, incarnation: str, now: Now, *, restarted: bool) -> None:
    """The kernel runs. A process other than the one that was to be resumed is a loss, and said."""
    if kernel.incarnation is not None and kernel.incarnation != incarnation and not restarted:
        kernel.notice = f"The process on {kernel.agent_name} that kept your variables is gone; they are lost."
    if kernel.incarnation != incarnation:
        kernel.keepable = True
    kernel.incarnation, kernel.pending = incarnation, None
    state.move(kernel, Event.BOUND)
    kernel.quiet_since = None
    state.set_busy(kernel, busy=False, gpu_quiet=True, now=now)
    spec_is_met(kernel)
    if restarted and kernel.respec_wish is None:
        restart_is_done(state, kernel)


def _bind_failed(state: FleetState, agent: Agent, message: BindFailed, now: Now) -> None:
    """Nothing is held. Try elsewhere if there is somewhere else; otherwise the user hears the agent's reason."""
    kernel = _holder(state, agent, message.kernel_id, message.lease_id)
    if kernel is None or kernel.lease is None:
        return
    gpus, restarting = kernel.lease.record.gpus, bool(kernel.pending and kernel.pending.question == "restart")
    state.close_lease(kernel, now, message.report)
    if message.state_lost or restarting:
        notice = "" if restarting else f"The process on {agent.name} that kept your variables is gone; they are lost."
        state.lose_process(kernel, notice)
    if kernel.ended:
        return  # the answer to End is still to come
    kernel.pending = None
    if restarting:
        state.move(kernel, Event.BIND_FAILED)
        restart_is_done(state, kernel, message.code or AttachFailed.code, message.message)
    elif not kernel.attaches or kernel.release_wish is not None or kernel.binds_tried >= MOST_BINDS:
        state.move(kernel, Event.BIND_FAILED)
        leave_queue(state, kernel, message.code or AttachFailed.code, message.message)
    else:
        free = (agent.gpus[uuid].state is GpuState.FREE for uuid in gpus if uuid in agent.gpus)
        if not message.state_lost and all(free):
            kernel.refused_by.add(agent.id)
        kernel.last_refusal = message.message
        state.move(kernel, Event.BIND_RETRIED)
    settle(state, kernel, now)


def _released(state: FleetState, agent: Agent, message: Released, now: Now) -> None:
    kernel = _holder(state, agent, message.kernel_id, message.report.lease_id)
    if kernel is None:
        _late_release(state, agent, message, now)
        return
    state.close_lease(kernel, now, message.report)
    if not message.kept:
        state.lose_process(kernel, loss_notice(agent.name, message.why_lost))
    if kernel.ended:
        return
    kernel.pending = None
    if kernel.release_wish in ("idle", "keep"):
        kernel.release_wish = None
        state.answer_all(kernel, kernel.releases)
    if kernel.state in HOLDS_GPU:
        state.move(kernel, Event.RELEASED_KEPT if message.kept else Event.RELEASED_LOST)
    settle(state, kernel, now)


def _late_release(state: FleetState, agent: Agent, message: Released, now: Now) -> None:
    """A lease that the broker had already given up, as it had not heard from the agent for too long."""
    prove_late(state, message.report, now)
    kernel = _kernel_on(state, agent, message.kernel_id)
    if kernel and not message.kept and kernel.incarnation == message.incarnation and kernel.lease is None:
        process_is_gone(state, kernel, loss_notice(agent.name, message.why_lost), now)


def prove_late(state: FleetState, report: LeaseReport, now: Now) -> None:
    """What the agent counted after the broker had closed the lease without its word."""
    lease = state.take_unconfirmed(report.lease_id)
    if lease is None:
        return
    proven = capped(Durations.of(report), now.wall - lease.opened_at)
    state.out.append(do.AdjustLease(lease.id, proven, now.wall))
    if proven.total_ms < lease.durations.total_ms:
        return
    cost, month = (
        lease.cost_of(proven, scope) - lease.cost_of(lease.durations, scope)
        for scope in (BudgetScope.USER, BudgetScope.MONTH)
    )
    state.purse_of(lease.user).charge(lease, cost, month)
    if (kernel := state.kernels.get(lease.kernel_id)) is not None:
        kernel.account.charge(cost, simulated=lease.simulated)
        state.touch(kernel)


def _not_idle(state: FleetState, agent: Agent, message: NotIdle, now: Now) -> None:
    kernel = _kernel_on(state, agent, message.kernel_id)
    if kernel is None or kernel.pending is None or kernel.pending.request_id != message.request_id:
        return
    kernel.pending = None
    if kernel.release_wish == "idle":
        kernel.release_wish = None
    if kernel.quiet_since is not None:
        kernel.quiet_since = now.boot  # an Activity is on its way, or its cell is over already
    state.touch(kernel)
    settle(state, kernel, now)


def _process_ended(state: FleetState, agent: Agent, message: ProcessEnded, now: Now) -> None:
    """With the process the agent has let go of the GPU, too."""
    kernel = _kernel_on(state, agent, message.kernel_id)
    if kernel is None or kernel.incarnation != message.incarnation:
        _late_explanation(state, kernel, message, now)
        return
    if kernel.pending is not None and kernel.pending.question in ("bind", "restart"):
        state.lose_process(kernel, message.message)  # Bound or BindFailed is on its way
        return
    if kernel.lease is not None:
        state.close_lease(kernel, now, message.report)
    if kernel.ended:
        state.lose_process(kernel, "")
        return
    kernel.pending = None
    process_is_gone(state, kernel, message.message, now)


def _late_explanation(state: FleetState, kernel: Kernel | None, message: ProcessEnded, now: Now) -> None:
    """The Hello after a lost link has shown that the process is gone; now its agent says why."""
    if message.report is not None:
        prove_late(state, message.report, now)
    if kernel is not None and kernel.notice and kernel.lost_incarnation == message.incarnation:
        kernel.notice = message.message
        state.touch(kernel)


def process_is_gone(state: FleetState, kernel: Kernel, notice: str, now: Now) -> None:
    """The process has ended by itself and no lease is open: the kernel starts anew at its next attach."""
    state.lose_process(kernel, notice)
    if kernel.release_wish == "idle":
        kernel.release_wish = None
    state.move(kernel, Event.PROCESS_ENDED)
    settle(state, kernel, now)


def _ended(state: FleetState, agent: Agent, message: Ended, now: Now) -> None:
    kernel = _kernel_on(state, agent, message.kernel_id)
    if kernel is None or kernel.pending is None or kernel.pending.request_id != message.request_id:
        if message.report is not None:
            prove_late(state, message.report, now)
        return
    kernel.pending = None
    had_lease = kernel.lease is not None
    if had_lease:
        state.close_lease(kernel, now, message.report)
    state.lose_process(kernel, "")
    if kernel.ended:
        state.plan_needed = True
        state.forget(kernel)
        return
    if kernel.state in HOLDS_GPU:
        state.move(kernel, Event.RELEASED_LOST)
    else:
        state.move(kernel, Event.PROCESS_ENDED)
    settle(state, kernel, now)


def loss_notice(host: str, why: str) -> str:
    """One plain sentence."""
    reason = why.strip().rstrip(".")
    return f"The GPU on {host} was released and the variables there are lost{': ' + reason if reason else ''}."
