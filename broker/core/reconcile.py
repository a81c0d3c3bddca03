"""When an agent connects, or has been away for too long: what the broker believes meets what really is.

An agent's Hello is the truth about its processes and leases, whichever messages were lost with the old link, and
whether the agent, the broker or the network failed. An agent that stays away for longer than its allowance holds
nothing any more, by its own clock; the broker waits a margin longer before it believes so.
"""

from __future__ import annotations

from ...wire.control import Hello, KernelReport, LeaseReport, Restart, Welcome
from ...wire.models import KernelState
from ...wire.versions import PROTOCOL
from . import draining
from . import instructions as do
from .agent_events import process_is_bound, process_is_gone, prove_late
from .clock import Now
from .events import AgentConnected
from .lease import Event
from .meter import Durations, Phase
from .records import Agent, Kernel
from .state import FleetState
from .wishes import settle


def agent_connected(state: FleetState, event: AgentConnected, now: Now, version: str) -> None:
    hello = event.hello
    agent = state.agents.get(hello.agent_id)
    if agent is None:
        agent = state.agents[hello.agent_id] = Agent(hello.agent_id, hello.name, event.owner)
    if agent.link_id is not None:
        state.closes.append(do.CloseLink(agent.link_id, "the agent has connected anew"))
    agent.link_id, agent.lost_at, agent.owner = event.link_id, None, event.owner
    agent.hello(hello)
    state.agents_seen.add(agent.id)
    draining.agent_has_said(state, agent)
    state.timers.set(f"agent {agent.id}", None)
    reports = {report.kernel_id: report for report in hello.kernels}
    mine = [kernel for kernel in state.kernels.values() if kernel.agent_id == agent.id]
    keep = [report.kernel_id for report in hello.kernels if _keep(state, agent, report, hello, now)]
    state.out.append(
        do.ToAgent(
            event.link_id,
            Welcome(
                protocol=PROTOCOL,
                version=version,
                renew_every_s=state.policy.renew_every_ms / 1000,
                allowance_s=state.policy.allowance_ms / 1000,
                keep=keep,
            ),
        )
    )
    for kernel in mine:
        if kernel.id not in reports:
            _is_not_there(state, agent, kernel, now)
    for kernel in [*mine, *(state.kernels[kernel_id] for kernel_id in keep)]:  # a lease just taken up is not in mine
        state.touch(kernel)
        if kernel.id in state.kernels:
            settle(state, kernel, now)
    draining.enforce(state, agent.id, now)
    state.plan_needed = True


def _keep(state: FleetState, agent: Agent, report: KernelReport, hello: Hello, now: Now) -> bool:
    """Whether a reported process goes on; brings the kernel in line with the report."""
    kernel = state.kernels.get(report.kernel_id)
    if kernel is None or kernel.ended or kernel.user != report.user:
        if kernel is not None and kernel.ended and kernel.agent_id == agent.id:
            _close_if_open(state, kernel, report.lease, now)
            kernel.incarnation, kernel.pending = None, None
        elif report.lease is not None:
            prove_late(state, report.lease, now)
        return False
    lease = kernel.lease
    if lease is not None and lease.record.agent_id == agent.id:
        if report.lease is not None and report.lease.lease_id == lease.record.id:
            return _lease_goes_on(state, kernel, report, report.lease, now)
        return _agent_let_go(state, kernel, report, now)
    if report.lease is not None and report.lease.lease_id in state.closed_unconfirmed:
        prove_late(state, report.lease, now)
    elif report.lease is not None and lease is None:
        return _adopt(state, agent, kernel, report, report.lease, now)
    if lease is None and kernel.agent_id == agent.id and kernel.incarnation == report.incarnation:
        kernel.keepable, kernel.pending = report.keepable, None
        return True
    return False


def _lease_goes_on(
    state: FleetState, kernel: Kernel, report: KernelReport, lease_report: LeaseReport, now: Now
) -> bool:
    lease = kernel.lease
    assert lease is not None
    asked = kernel.pending.question if kernel.pending else None
    if kernel.state is KernelState.ATTACHED and kernel.incarnation != report.incarnation:
        state.close_lease(kernel, now, lease_report)
        kernel.pending = None
        process_is_gone(state, kernel, f"The kernel's process on {kernel.agent_name} has ended unexpectedly.", now)
        return False
    lease.meter.go_on(now.boot)
    durations = state.take_report(lease, lease_report, now)
    if state.agents[lease.record.agent_id].tells_limits:
        lease.limit_found(lease_report.limit_ms)
    state.drawn.add(kernel.user)
    state.out.append(do.RenewLease(lease.record.id, durations, now.wall))
    kernel.keepable = report.keepable
    if kernel.state is KernelState.STARTING:
        if asked == "restart" and report.incarnation == kernel.incarnation:
            message = Restart(
                request_id=state.new_id("request"),
                kernel_id=kernel.id,
                lease_id=lease.record.id,
                session=kernel.session,
            )
            state.tell_agent(lease.record.agent_id, message)
            state.expect(kernel, "restart", message.request_id, now)
            return True
        process_is_bound(state, kernel, report.incarnation, now, restarted=asked == "restart")
    kernel.pending = None  # what was asked is asked again if it is still wished for
    state.set_busy(kernel, busy=report.busy, gpu_quiet=not report.busy, now=now)
    return True


def _agent_let_go(state: FleetState, kernel: Kernel, report: KernelReport, now: Now) -> bool:
    """The agent holds the process but no lease: its allowance was used up, or Bind never reached it."""
    same = kernel.incarnation == report.incarnation
    starting = kernel.state is KernelState.STARTING
    state.close_lease(kernel, now, None, confirmed=False)
    kernel.pending, kernel.keepable = None, report.keepable
    if not same:
        state.lose_process(kernel, f"The kernel's process on {kernel.agent_name} has ended unexpectedly.")
    if starting and kernel.attaches and not kernel.restart_wish:
        state.move(kernel, Event.BIND_RETRIED)
    else:
        state.move(kernel, Event.RELEASED_KEPT if same else Event.RELEASED_LOST)
    return same


def _adopt(
    state: FleetState, agent: Agent, kernel: Kernel, report: KernelReport, lease_report: LeaseReport, now: Now
) -> bool:
    """The broker was killed between Bind and the commit of the lease: the agent's report proves that it was opened."""
    gpus = tuple(agent.gpus[uuid] for uuid in report.gpus if uuid in agent.gpus)
    if len(gpus) != len(report.gpus) or any(state.is_held(agent, gpu) for gpu in gpus):
        return False
    if kernel.incarnation not in (None, report.incarnation):
        return False
    lease = state.open_lease(kernel, agent, gpus, now, lease_report.lease_id)
    lease.limit_found(lease_report.limit_ms if agent.tells_limits else None)
    # What the agent counted so far was before this broker's time; nothing else is known to cap it by.
    lease.meter.proven = lease.meter.shown = Durations.of(lease_report)
    lease.meter.started = type(now.boot)(now.boot - lease.meter.proven.total_ms)
    lease.meter.turn(Phase.BUSY if report.busy else Phase.IDLE, now.boot)
    state.out.append(do.RenewLease(lease.record.id, lease.meter.proven, now.wall))
    kernel.incarnation, kernel.keepable = report.incarnation, report.keepable
    state.move(kernel, Event.FOUND)
    state.set_busy(kernel, busy=report.busy, gpu_quiet=not report.busy, now=now)
    return True


def _is_not_there(state: FleetState, agent: Agent, kernel: Kernel, now: Now) -> None:
    """The broker thought that the agent has a process or a lease of this kernel, and it has not."""
    if kernel.ended:
        _close_if_open(state, kernel, None, now)
        kernel.incarnation, kernel.pending = None, None
        return
    had_process = kernel.incarnation is not None
    notice = f"The kernel's process on {agent.name} is gone; its variables are lost."
    starting = kernel.state is KernelState.STARTING
    restarting = kernel.pending is not None and kernel.pending.question == "restart"
    _close_if_open(state, kernel, None, now)
    kernel.pending = None
    if starting:
        state.lose_process(kernel, notice if had_process and not restarting else kernel.notice)
        again = bool(kernel.attaches) and not kernel.restart_wish
        state.move(kernel, Event.BIND_RETRIED if again else Event.BIND_FAILED)
    elif had_process:
        process_is_gone(state, kernel, notice, now)


def agent_lost(state: FleetState, agent: Agent, now: Now) -> None:
    """The link is closed; until the allowance is used up, what ran there goes on."""
    agent.link_id, agent.lost_at = None, now.boot
    state.timers.set(f"agent {agent.id}", now.boot_in(state.policy.vanish_after_ms))
    for kernel in state.kernels.values():
        if kernel.agent_id == agent.id:
            if kernel.lease is not None:
                kernel.lease.meter.stop()
            state.touch(kernel)
    state.plan_needed = True


def agent_vanished(state: FleetState, agent: Agent, now: Now) -> None:
    """The allowance is used up: by its own clock the agent has suspended or ended what it ran."""
    away_s = round((now.boot - (agent.lost_at or state.started.boot)) / 1000)
    for kernel in [kernel for kernel in state.kernels.values() if kernel.agent_id == agent.id]:
        if kernel.lease is None:
            if kernel.ended:
                state.forget(kernel)
            continue
        _lease_vanished(state, kernel, f"{agent.name} has been out of contact for {away_s} s", now)
    if not any(kernel.agent_id == agent.id for kernel in state.kernels.values()):
        del state.agents[agent.id]
        draining.forget(state, agent.id)
    else:
        agent.gpus.clear()  # what nobody has heard of for so long is not offered to anyone
    state.plan_needed = True


def _lease_vanished(state: FleetState, kernel: Kernel, why: str, now: Now) -> None:
    was_busy = kernel.busy
    starting = kernel.state is KernelState.STARTING
    _close_if_open(state, kernel, None, now)
    kernel.pending = None
    if kernel.ended:
        state.forget(kernel)
        return
    if kernel.incarnation is not None and (was_busy or not kernel.keepable):
        state.lose_process(kernel, f"{why}; the GPU was given back and the variables there are lost.")
    if starting and kernel.attaches and not kernel.restart_wish:
        state.move(kernel, Event.BIND_RETRIED)
    else:
        state.move(kernel, Event.AGENT_GONE)
    if kernel.release_wish == "idle":
        kernel.release_wish = None
    settle(state, kernel, now)


def _close_if_open(state: FleetState, kernel: Kernel, report: LeaseReport | None, now: Now) -> None:
    if kernel.lease is None:
        return
    if report is not None and report.lease_id != kernel.lease.record.id:
        report = None
    state.close_lease(kernel, now, report, confirmed=report is not None)
