"""The control link: what a broker and an agent say to each other, one JSON text message each.

``docs/protocol.md`` tells the story; this module is its letter. Durations are milliseconds on the agent's boot clock.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from .models import Document, Gpu
from .usage import Usage
from .versions import ProtocolVersion


class LeaseReport(Document):
    """How long a lease has run, by what the kernel did; the agent is the one who knows.

    ``limit_ms``: for how long it may run, by what its agent was told last; None: no limit, or an agent before 1.4.
    """

    lease_id: str
    starting_ms: int = Field(ge=0)
    busy_ms: int = Field(ge=0)
    idle_ms: int = Field(ge=0)
    limit_ms: int | None = None


class KernelReport(Document):
    """A kernel process that an agent holds, said on each connection, so that a restarted broker can reconcile."""

    kernel_id: str
    incarnation: str
    user: str
    gpus: list[str]  # uuids; empty while suspended
    lease: LeaseReport | None
    busy: bool
    keepable: bool


# agent → broker ------------------------------------------------------------------------------------------------


class Hello(Document):
    type: Literal["hello"] = "hello"
    protocol: ProtocolVersion
    version: str  # of perijove, for people
    python: str  # "3.11.7"
    agent_id: str
    name: str  # the host's name unless told otherwise
    gpus: list[Gpu]
    kernels: list[KernelReport]
    spares: int = 0
    isolated: bool = False  # kernels of several users cannot read each other's files, so they may share this agent
    draining: bool = False  # it wants no new leases, as it is about to stop


class Inventory(Document):
    """The GPUs as they are now; sent when something changed."""

    type: Literal["inventory"] = "inventory"
    gpus: list[Gpu]
    spares: int = 0
    draining: bool = False  # as in Hello


class Bound(Document):
    """The process ``incarnation`` runs for the kernel on the GPUs of the lease."""

    type: Literal["bound"] = "bound"
    request_id: str
    kernel_id: str
    lease_id: str
    incarnation: str
    resumed: bool  # the same process as before the release
    report: LeaseReport


class BindFailed(Document):
    """Nothing is held. ``state_lost``: the process that should have been resumed is gone."""

    type: Literal["bind_failed"] = "bind_failed"
    request_id: str
    kernel_id: str
    lease_id: str
    code: str
    message: str
    state_lost: bool = False
    report: LeaseReport


class Activity(Document):
    """A kernel became busy or idle, or what it could keep changed."""

    type: Literal["activity"] = "activity"
    kernel_id: str
    incarnation: str
    busy: bool  # a cell runs or waits
    gpu_quiet: bool  # the kernel's own processes do nothing on the GPU
    keepable: bool  # releasing now would keep the variables (DESIGN.md §3, tier 1)


class Renew(Document):
    """Sent every ``renew_every_s`` for all leases together; answered by Renewed."""

    type: Literal["renew"] = "renew"
    leases: list[LeaseReport]


class Released(Document):
    """The GPUs are free again. ``kept``: the process lives on."""

    type: Literal["released"] = "released"
    request_id: str  # of the Release, or "" when the agent let go by itself (allowance used up)
    kernel_id: str
    incarnation: str
    kept: bool
    why_lost: str = ""  # for people, when not kept
    reason: str = ""  # why the agent let go by itself: "allowance" or "budget"
    report: LeaseReport


class NotIdle(Document):
    """The answer to a Release ``only_if_idle`` that met a cell: nothing was released, the lease goes on."""

    type: Literal["not_idle"] = "not_idle"
    request_id: str
    kernel_id: str


class ProcessEnded(Document):
    """A kernel's process ended without having been asked to."""

    type: Literal["process_ended"] = "process_ended"
    kernel_id: str
    incarnation: str
    reason: Literal["exited", "killed", "out_of_memory"]
    message: str  # for people: "the kernel was killed (out of host memory)"
    report: LeaseReport | None


class Ended(Document):
    """The answer to End: no process and no GPU is held for this kernel any more."""

    type: Literal["ended"] = "ended"
    request_id: str
    kernel_id: str
    report: LeaseReport | None


# broker → agent ------------------------------------------------------------------------------------------------


class Welcome(Document):
    """``keep``: of the reported kernels, those that go on; the agent ends all others."""

    type: Literal["welcome"] = "welcome"
    protocol: ProtocolVersion
    version: str
    renew_every_s: float
    allowance_s: float
    keep: list[str]


class Refused(Document):
    """The last message before the broker closes the link."""

    type: Literal["refused"] = "refused"
    code: str
    message: str


class Bind(Document):
    """Hold the GPUs for the kernel and run a process on them: ``incarnation`` if given (resume), else a spare."""

    type: Literal["bind"] = "bind"
    request_id: str
    kernel_id: str
    user: str
    lease_id: str
    gpus: list[str]
    incarnation: str | None
    allowance_s: float
    limit_ms: int | None = None  # how long the lease may run altogether: what is left of a budget pays for no more
    session: str = ""  # the Jupyter session that the process's messages are to name; empty: as it is
    traceparent: str = ""  # the span that the bind is a part of (W3C trace context); empty: nobody traces it


class Release(Document):
    """Take the GPUs back. ``keep``: let the process live on if it can; else it ends.

    ``only_if_idle``: the broker thinks that the kernel is idle. Where a cell runs or waits, because it crossed this
    message, the agent releases nothing and answers NotIdle.
    """

    type: Literal["release"] = "release"
    request_id: str
    kernel_id: str
    lease_id: str
    keep: bool
    only_if_idle: bool = False


class Restart(Document):
    """End the kernel's process and bind a new one to the same GPUs under the same lease; answered by Bound."""

    type: Literal["restart"] = "restart"
    request_id: str
    kernel_id: str
    lease_id: str
    session: str = ""  # as in Bind


class End(Document):
    """End the kernel's process, whatever it does, and free what it holds."""

    type: Literal["end"] = "end"
    request_id: str
    kernel_id: str


class Renewed(Document):
    """Each lease may run on for so long, counted from sending the Renew; one not named is unknown: let go of it.

    ``limits_ms``: how long it may run altogether, as in Bind; a lease that is not named there has no limit.
    """

    type: Literal["renewed"] = "renewed"
    allowances_s: dict[str, float]
    limits_ms: dict[str, int] = Field(default_factory=dict)


class Limit(Document):
    """A budget was changed: the lease may run for so long altogether, from now on (None: without a limit)."""

    type: Literal["limit"] = "limit"
    kernel_id: str
    lease_id: str
    limit_ms: int | None


FromAgent = Annotated[
    Hello | Inventory | Bound | BindFailed | Activity | Renew | Released | NotIdle | ProcessEnded | Ended | Usage,
    Field(discriminator="type"),
]
FromBroker = Annotated[
    Welcome | Refused | Bind | Release | Restart | End | Renewed | Limit, Field(discriminator="type")
]

# Who lets go of a lease at its limit has so long to do it; what takes longer is not billed (docs/billing.md).
LIMIT_GRACE_MS = 1_000

from_agent: TypeAdapter[FromAgent] = TypeAdapter(FromAgent)
from_broker: TypeAdapter[FromBroker] = TypeAdapter(FromBroker)
