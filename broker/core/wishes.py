"""What is to be done for one kernel next. Whatever an event changed, ``settle`` takes the next step, one at a time.

A kernel has at most one open question at its agent. Wishes wait until that is answered, and are then met in this order:
end, release, restart, another GPU spec, attach. So crossing messages need no special cases: each answer just leads to
the next step.
"""

from __future__ import annotations

from ...wire.control import End, Release, Restart
from ...wire.errors import AttachCancelled
from ...wire.models import KernelState
from . import budget, respec
from . import instructions as do
from .clock import Now
from .lease import Event
from .records import Kernel
from .state import FleetState


def settle(state: FleetState, kernel: Kernel, now: Now) -> None:
    """Take the next step towards what was asked of this kernel."""
    if kernel.pending is not None:
        return
    if kernel.ended:
        _let_go(state, kernel, now)
        return
    if kernel.release_wish is not None and not _release_done(state, kernel, now):
        return
    if kernel.restart_wish and not _restart_done(state, kernel, now):
        return
    if kernel.respec_wish is not None and kernel.lease is not None:
        _ask_for_room(state, kernel, now)
        return
    if kernel.attaches:
        _attach(state, kernel, now)


def _let_go(state: FleetState, kernel: Kernel, now: Now) -> None:
    if kernel.lease is None and kernel.incarnation is None:
        state.forget(kernel)
    elif state.link_of(kernel.agent_id) is not None:
        _ask_end(state, kernel, now)
    elif kernel.lease is None:
        state.forget(kernel)  # its agent is away, and ends what the broker does not know when it comes back


def _release_done(state: FleetState, kernel: Kernel, now: Now) -> bool:
    connected = state.link_of(kernel.agent_id) is not None
    if kernel.lease is not None:
        if connected:
            _ask_release(state, kernel, now)
        return False
    if kernel.release_wish == "end" and kernel.incarnation is not None:
        if connected:
            _ask_end(state, kernel, now)
            return False
        _forget_process(state, kernel)
    kernel.release_wish = None
    state.answer_all(kernel, kernel.releases)
    return True


def _restart_done(state: FleetState, kernel: Kernel, now: Now) -> bool:
    connected = state.link_of(kernel.agent_id) is not None
    if kernel.lease is not None:
        if connected and kernel.respec_wish is not None:
            _ask_end(state, kernel, now)
        elif connected:
            if kernel.state is KernelState.ATTACHED:
                state.move(kernel, Event.RESTARTED)
            request_id = state.new_id("request")
            message = Restart(
                request_id=request_id,
                kernel_id=kernel.id,
                lease_id=kernel.lease.record.id,
                session=kernel.session,
            )
            state.tell_agent(kernel.lease.record.agent_id, message)
            state.expect(kernel, "restart", request_id, now)
        return False
    if kernel.incarnation is not None:
        if connected:
            _ask_end(state, kernel, now)
            return False
        _forget_process(state, kernel)
    restart_is_done(state, kernel)
    return True


def restart_is_done(state: FleetState, kernel: Kernel, code: str = "", message: str = "") -> None:
    kernel.restart_wish, kernel.notice = False, message
    state.answer_all(kernel, kernel.restarts, code, message)


def _ask_for_room(state: FleetState, kernel: Kernel, now: Now) -> None:
    """The lease is not what the kernel's spec asks for any more: it ends first."""
    if state.link_of(kernel.agent_id) is None:
        return
    if kernel.respec_wish == "end":
        _ask_end(state, kernel, now)
    else:
        _ask_release(state, kernel, now)


def _attach(state: FleetState, kernel: Kernel, now: Now) -> None:
    if kernel.state is KernelState.ATTACHED:
        if kernel.quiet_since is not None:
            kernel.quiet_since = now.boot  # whoever asks is about to run something
        state.touch(kernel)
        state.answer_all(kernel, kernel.attaches)
    elif kernel.state not in (KernelState.DETACHED, KernelState.SUSPENDED):
        return  # on its way
    elif why := budget.refusal(kernel, now.boot, state.money_for(kernel)):
        state.answer_all(kernel, kernel.attaches, budget.CODE, why)
    else:
        kernel.asked_at, kernel.last_refusal = now.boot, ""
        kernel.refused_by.clear()
        kernel.binds_tried = 0
        state.move(kernel, Event.ASKED)


def _ask_release(state: FleetState, kernel: Kernel, now: Now) -> None:
    assert kernel.lease is not None
    if kernel.release_wish == "end":
        _ask_end(state, kernel, now)
        return
    request_id = state.new_id("request")
    message = Release(
        request_id=request_id,
        kernel_id=kernel.id,
        lease_id=kernel.lease.record.id,
        keep=True,
        only_if_idle=kernel.release_wish == "idle",
    )
    state.tell_agent(kernel.lease.record.agent_id, message)
    state.expect(kernel, "release", request_id, now)


def _ask_end(state: FleetState, kernel: Kernel, now: Now) -> None:
    assert kernel.agent_id is not None
    request_id = state.new_id("request")
    state.tell_agent(kernel.agent_id, End(request_id=request_id, kernel_id=kernel.id))
    state.expect(kernel, "end", request_id, now)


def _forget_process(state: FleetState, kernel: Kernel) -> None:
    """Give up a suspended process whose agent is away; that agent ends it when it comes back."""
    state.lose_process(kernel, "")
    state.move(kernel, Event.PROCESS_ENDED)


def leave_queue(state: FleetState, kernel: Kernel, code: str, message: str) -> None:
    """Answer all waiting attaches with why there is no GPU, and be as before."""
    state.answer_all(kernel, kernel.attaches, code, message)
    kernel.queue_reason = ""
    respec.refused(kernel, code)
    if kernel.state is KernelState.QUEUED:
        state.move(kernel, Event.LEFT_QUEUE)


def end_kernel(state: FleetState, kernel: Kernel, now: Now, why: str) -> None:
    """The kernel is over, whatever it does: what it holds is freed as soon as its agent has heard of it."""
    if kernel.ended:
        return
    state.answer_all(kernel, kernel.attaches, AttachCancelled.code, why)
    state.answer_all(kernel, kernel.releases)
    state.answer_all(kernel, kernel.restarts)
    kernel.release_wish, kernel.restart_wish, kernel.pending = None, False, None
    kernel.respec_wish = None
    state.move(kernel, Event.ENDED)
    state.out += (do.ForgetKernel(kernel.id), do.DropRoute(kernel.id))
    if kernel.link_id is not None:
        state.closes.append(do.CloseLink(kernel.link_id, why))
    settle(state, kernel, now)
