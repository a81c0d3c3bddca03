"""What can happen to the fleet, as values. The shell makes them of what its sockets and clock say."""

from __future__ import annotations

from dataclasses import dataclass

from ...wire.control import FromAgent, Hello
from ...wire.gpu_spec import GpuSpec
from ...wire.link import BudgetRequest, FromClient, KeepRequest, ReleaseRequest
from ...wire.states import BudgetScope, SetBy


@dataclass(frozen=True, slots=True)
class AgentConnected:
    link_id: str
    owner: str  # of the token that the link came with
    hello: Hello


@dataclass(frozen=True, slots=True)
class AgentSaid:
    agent_id: str
    link_id: str
    message: FromAgent


@dataclass(frozen=True, slots=True)
class AgentLinkClosed:
    agent_id: str
    link_id: str


@dataclass(frozen=True, slots=True)
class KernelCreated:
    kernel_id: str
    user: str
    name: str
    spec: GpuSpec
    idle_timeout_ms: int | None = None
    budget_nanodollars: int | None = None
    notebook: str = ""


@dataclass(frozen=True, slots=True)
class NotebookNamed:
    """The notebook that a kernel belongs to, or what it is called now; its next leases are put down to that."""

    kernel_id: str
    notebook: str


@dataclass(frozen=True, slots=True)
class KernelDeleted:
    kernel_id: str


@dataclass(frozen=True, slots=True)
class ClientLinkOpened:
    """``session``: the Jupyter session that the kernel's messages are to name from its next bind on; "": any."""

    kernel_id: str
    link_id: str
    session: str = ""


@dataclass(frozen=True, slots=True)
class ClientSaid:
    kernel_id: str
    link_id: str
    message: FromClient


@dataclass(frozen=True, slots=True)
class ApiAsked:
    """What a kernel's client may say, asked by somebody else who may: on the broker's page, say."""

    kernel_id: str
    message: ReleaseRequest | BudgetRequest | KeepRequest


@dataclass(frozen=True, slots=True)
class LimitSet:
    """What a user may spend was set, by ``by``; None: there is no such limit any more. Who may, was seen to before."""

    user: str
    scope: BudgetScope
    set_by: SetBy
    nanodollars: int | None
    by: str


@dataclass(frozen=True, slots=True)
class ClientLinkClosed:
    kernel_id: str
    link_id: str


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """An agent is to take no new leases. ``within_ms``: after which time what still runs there is released."""

    agent_id: str
    asked_by: str
    within_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DrainUndone:
    agent_id: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent when a deadline of the core is due."""


FleetEvent = (
    AgentConnected
    | AgentSaid
    | AgentLinkClosed
    | KernelCreated
    | NotebookNamed
    | KernelDeleted
    | ClientLinkOpened
    | ClientSaid
    | ApiAsked
    | LimitSet
    | ClientLinkClosed
    | DrainAsked
    | DrainUndone
    | Tick
)
