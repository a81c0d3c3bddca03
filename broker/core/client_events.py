"""What clients and the kernel API ask for."""

from __future__ import annotations

from ...wire.errors import AttachCancelled, KernelReleased
from ...wire.link import (
    MOST_KEEP_S,
    AttachRequest,
    BudgetRequest,
    CancelRequest,
    FromClient,
    Goodbye,
    KeepRequest,
    LinkWelcome,
    LocalActivity,
    ReleaseRequest,
    RestartRequest,
)
from ...wire.models import KernelState
from ...wire.versions import PROTOCOL
from . import instructions as do
from . import respec
from .clock import BootMs, Now
from .events import ClientLinkOpened, KernelCreated
from .records import Kernel
from .sharing import set_kernel_budget
from .state import FleetState
from .view import idle_deadline, view_of
from .wishes import end_kernel, leave_queue, settle

MOST_REQUESTS = 100  # a client has a handful under way; more is a mistake, and memory is bounded
GOODBYE = "the kernel was ended"


def kernel_created(state: FleetState, event: KernelCreated, now: Now) -> None:
    kernel = Kernel(event.kernel_id, event.user, event.name, event.spec, now.wall, own_timeout_ms=event.idle_timeout_ms)
    kernel.account.budget, kernel.notebook = event.budget_nanodollars, event.notebook
    state.give_purse(kernel)
    kernel.away_since = kernel.active_at = now.boot
    state.kernels[kernel.id] = kernel
    state.touch(kernel)


def link_opened(state: FleetState, kernel: Kernel, event: ClientLinkOpened, now: Now, version: str) -> None:
    """A new link replaces the older one; its client sends again what was not answered."""
    if kernel.link_id is not None:
        state.closes.append(do.CloseLink(kernel.link_id, "another client has linked to this kernel"))
        _forget_requests(kernel)
    kernel.link_id, kernel.away_since = event.link_id, None
    kernel.session = event.session or kernel.session
    view = state.welcomed[kernel.id] = view_of(kernel, state.policy, now.boot)
    state.tell(kernel, LinkWelcome(protocol=PROTOCOL, version=version, kernel=view))
    if kernel.state is KernelState.QUEUED:
        state.plan_needed = True
        if not kernel.attaches:
            kernel.queue_abandoned_at = now.boot_in(state.policy.away_timeout_ms)
    state.touch(kernel)


def link_closed(state: FleetState, kernel: Kernel, now: Now) -> None:
    """No goodbye: what runs goes on, who waits keeps the place for a while, an idle kernel is released soon."""
    kernel.link_id, kernel.away_since = None, now.boot
    _forget_requests(kernel)
    if kernel.state is KernelState.QUEUED:
        kernel.queue_abandoned_at = now.boot_in(state.policy.away_timeout_ms)
        state.plan_needed = True
    state.touch(kernel)


def _forget_requests(kernel: Kernel) -> None:
    kernel.attaches.clear()
    kernel.releases.clear()
    kernel.restarts.clear()


def client_said(state: FleetState, kernel: Kernel, message: FromClient, now: Now) -> None:
    match message:
        case AttachRequest():
            _attach(state, kernel, message, now)
        case CancelRequest():
            _cancel(state, kernel, message.request_id)
        case ReleaseRequest():
            _release(state, kernel, message, now)
        case RestartRequest():
            _restart(state, kernel, message, now)
        case BudgetRequest():
            set_kernel_budget(state, kernel, message.nanodollars, now)
            state.reply(kernel, message.request_id)
        case KeepRequest():
            _keep(state, kernel, message, now)
        case LocalActivity():
            kernel.local_busy_since = now.boot if message.busy else None
            if not message.busy and kernel.quiet_since is not None:
                kernel.quiet_since = now.boot
            state.touch(kernel)
        case Goodbye():
            end_kernel(state, kernel, now, GOODBYE)
        case _:
            state.closes.append(do.CloseLink(kernel.link_id or "", f"a second {message.type!r} on one link"))


def _accepts(state: FleetState, kernel: Kernel, requests: list[str]) -> bool:
    if len(requests) < MOST_REQUESTS:
        return True
    if kernel.link_id is not None:
        state.closes.append(do.CloseLink(kernel.link_id, f"over {MOST_REQUESTS} requests of one kind are under way"))
    return False


def _attach(state: FleetState, kernel: Kernel, message: AttachRequest, now: Now) -> None:
    if message.request_id in kernel.attaches or not _accepts(state, kernel, kernel.attaches):
        return
    try:
        if message.gpu is not None:
            respec.ask_for(state, kernel, message.gpu, now, giving_up=False)
    except respec.Refused as why:
        state.reply(kernel, message.request_id, why.code, str(why))
        return
    kernel.attaches.append(message.request_id)
    kernel.queue_abandoned_at = None
    settle(state, kernel, now)


def _restart(state: FleetState, kernel: Kernel, message: RestartRequest, now: Now) -> None:
    if not _accepts(state, kernel, kernel.restarts):
        return
    try:
        if message.gpu is not None:
            respec.ask_for(state, kernel, message.gpu, now, giving_up=True)
    except respec.Refused as why:
        state.reply(kernel, message.request_id, why.code, str(why))
        return
    kernel.restarts.append(message.request_id)
    kernel.restart_wish = True
    settle(state, kernel, now)


def _cancel(state: FleetState, kernel: Kernel, request_id: str) -> None:
    """One attach less; the kernel leaves the queue when nobody waits for it any more."""
    if request_id not in kernel.attaches:
        return
    kernel.attaches.remove(request_id)
    state.reply(kernel, request_id, AttachCancelled.code, "the attach was cancelled")
    if not kernel.attaches and kernel.state is KernelState.QUEUED:
        leave_queue(state, kernel, AttachCancelled.code, "the attach was cancelled")


def _keep(state: FleetState, kernel: Kernel, message: KeepRequest, now: Now) -> None:
    """An idle kernel's GPU goes back so much later; a busy one's so much later than it would after its cells."""
    if kernel.lease is None or kernel.release_wish is not None:
        what = "holds no GPU" if kernel.lease is None else "is giving its GPU back just now"
        state.reply(kernel, message.request_id, KernelReleased.code, f"this kernel {what}, so there is nothing to keep")
        return
    if message.request_id == kernel.last_keep:  # asked again, as the answer was lost on the way
        state.reply(kernel, message.request_id)
        return
    kernel.last_keep = message.request_id
    keep_ms, most_ms = message.seconds * 1000, MOST_KEEP_S * 1000
    if (deadline := idle_deadline(kernel, state.policy)) is not None:
        kernel.keep_until(BootMs(min(deadline.at + keep_ms, max(deadline.at, now.boot + most_ms))), now)
    else:
        kernel.keep_extra_ms = min(kernel.keep_extra_ms + keep_ms, most_ms)
    state.touch(kernel)
    state.reply(kernel, message.request_id)


def _release(state: FleetState, kernel: Kernel, message: ReleaseRequest, now: Now) -> None:
    if not _accepts(state, kernel, kernel.releases):
        return
    kernel.releases.append(message.request_id)
    if kernel.attaches or kernel.state is KernelState.QUEUED:
        leave_queue(state, kernel, AttachCancelled.code, "the GPU was released before it was attached")
    kernel.release_wish = "end" if message.end or kernel.release_wish == "end" else "keep"
    settle(state, kernel, now)
