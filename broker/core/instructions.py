"""What the core wants done, as values. The shell carries them out in the order given and reports nothing back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...wire.control import FromBroker
from ...wire.link import ToClient
from ...wire.states import BudgetScope, SetBy
from .clock import WallMs
from .meter import Durations
from .purse import LimitRecord
from .records import DrainRecord, KernelRecord, LeaseRecord


@dataclass(frozen=True, slots=True)
class ToAgent:
    """``after_commit``: only when all ledger instructions before it are on disk."""

    link_id: str
    message: FromBroker
    after_commit: bool = False


@dataclass(frozen=True, slots=True)
class ToClientLink:
    link_id: str
    message: ToClient


@dataclass(frozen=True, slots=True)
class CloseLink:
    """After what was sent on it before."""

    link_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetRoute:
    """Where a kernel's envelopes go. Not ``open``: the process lives, but cells must not reach it."""

    kernel_id: str
    incarnation: str | None
    owner: str  # of the agent whose data link it is
    open: bool


@dataclass(frozen=True, slots=True)
class DropRoute:
    kernel_id: str


@dataclass(frozen=True, slots=True)
class OpenLease:
    lease: LeaseRecord


@dataclass(frozen=True, slots=True)
class RenewLease:
    lease_id: str
    durations: Durations
    at: WallMs


@dataclass(frozen=True, slots=True)
class CloseLease:
    """``confirmed``: by the agent; otherwise it closes at what was last reported."""

    lease_id: str
    durations: Durations
    at: WallMs
    confirmed: bool


@dataclass(frozen=True, slots=True)
class AdjustLease:
    """Proof that came after a lease was closed without the agent's word."""

    lease_id: str
    durations: Durations
    at: WallMs


@dataclass(frozen=True, slots=True)
class CountGap:
    """How long the kernel of a lease that is closed has gone without one since, now that it has the next."""

    lease_id: str
    ms: int


@dataclass(frozen=True, slots=True)
class SaveKernel:
    kernel: KernelRecord


@dataclass(frozen=True, slots=True)
class ForgetKernel:
    kernel_id: str


@dataclass(frozen=True, slots=True)
class SaveDrain:
    drain: DrainRecord


@dataclass(frozen=True, slots=True)
class ForgetDrain:
    agent_id: str


@dataclass(frozen=True, slots=True)
class SaveLimit:
    limit: LimitRecord


@dataclass(frozen=True, slots=True)
class ForgetLimit:
    user: str
    scope: BudgetScope
    set_by: SetBy


@dataclass(frozen=True, slots=True)
class OpenMonth:
    """A month has begun. ``proven``: how long each lease had run by then, of which more proof may come."""

    start: WallMs
    proven: Mapping[str, Durations]


LedgerInstruction = (
    OpenLease
    | RenewLease
    | CloseLease
    | AdjustLease
    | CountGap
    | SaveKernel
    | ForgetKernel
    | SaveDrain
    | ForgetDrain
    | SaveLimit
    | ForgetLimit
    | OpenMonth
)
Instruction = ToAgent | ToClientLink | CloseLink | SetRoute | DropRoute | LedgerInstruction
