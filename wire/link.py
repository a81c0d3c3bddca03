"""The client link's text messages: what a client and a broker say to each other about one kernel.

Binary messages on the same link are envelopes (:mod:`perijove.wire.envelope`), for the kernel's process.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from .models import Document, KernelView
from .money import MOST_BUDGET_NANODOLLARS
from .tracing import MOST_TRACEPARENT_CHARACTERS
from .usage import KernelUsage
from .versions import ProtocolVersion

MOST_SESSION_CHARACTERS = 128
MOST_KEEP_S = 3600
MOST_SPEC_CHARACTERS = 1000

# client → broker -----------------------------------------------------------------------------------------------


class ClientHello(Document):
    """``session``: the Jupyter session id that the kernel's messages are to carry; empty: whichever it has."""

    type: Literal["hello"] = "hello"
    protocol: ProtocolVersion
    version: str
    session: str = Field(default="", max_length=MOST_SESSION_CHARACTERS)


class AttachRequest(Document):
    """Wish for a GPU; answered by Reply when attached, failed or cancelled. States come in between.

    ``gpu``: the GPU spec that the kernel is to have from now on; None: the one it has. ``traceparent``: the span that
    the attach is a part of (W3C trace context); empty: it is traced by nobody.
    """

    type: Literal["attach"] = "attach"
    request_id: str
    gpu: str | None = Field(default=None, max_length=MOST_SPEC_CHARACTERS)
    traceparent: str = Field(default="", max_length=MOST_TRACEPARENT_CHARACTERS)


class CancelRequest(Document):
    """Leave the queue; the attach is then answered with ``attach_cancelled``."""

    type: Literal["cancel"] = "cancel"
    request_id: str


class ReleaseRequest(Document):
    """Give the GPU back now, by the gentlest means that works; ``end`` gives up the process as well."""

    type: Literal["release"] = "release"
    request_id: str
    end: bool = False


class RestartRequest(Document):
    """A new process in place of the old one; the lease, if there is one, stays.

    ``gpu``: a GPU spec to have from now on. A lease that does not meet it ends; the next attach asks for the new one.
    """

    type: Literal["restart"] = "restart"
    request_id: str
    gpu: str | None = Field(default=None, max_length=MOST_SPEC_CHARACTERS)


class BudgetRequest(Document):
    """What this kernel may cost altogether, from its first lease on; None: no limit. Holds at once."""

    type: Literal["budget"] = "budget"
    request_id: str
    nanodollars: int | None = Field(ge=0, le=MOST_BUDGET_NANODOLLARS)


class KeepRequest(Document):
    """Hold the GPU for so much longer than idleness would: from when it would go back, or from the end of what runs.

    Presses add up, to an hour from now at most; a release ends it. A budget that is used up is stronger. Since 1.4.
    """

    type: Literal["keep"] = "keep"
    request_id: str
    seconds: int = Field(gt=0, le=MOST_KEEP_S)


class Watch(Document):
    """Whether the broker is to send ``usage`` on this link, once a second, while the kernel's agent reports it.

    The first one holds the history that the broker has. Holds for this link only. Since 1.4.
    """

    type: Literal["watch"] = "watch"
    on: bool


class LocalActivity(Document):
    """The notebook runs cells of its own (Run All with a slow local cell): counts as activity, up to a limit."""

    type: Literal["activity"] = "activity"
    busy: bool


class Goodbye(Document):
    """The client ends for good: free the GPU at once and end the kernel. A lost connection is no goodbye."""

    type: Literal["goodbye"] = "goodbye"


# broker → client -----------------------------------------------------------------------------------------------


class LinkWelcome(Document):
    type: Literal["welcome"] = "welcome"
    protocol: ProtocolVersion
    version: str
    kernel: KernelView


class LinkRefused(Document):
    """The last message before the broker closes the link."""

    type: Literal["refused"] = "refused"
    code: str
    message: str


class State(Document):
    """Sent whenever something in it changed."""

    type: Literal["state"] = "state"
    kernel: KernelView


class Reply(Document):
    """``code`` is empty when the request was done."""

    type: Literal["reply"] = "reply"
    request_id: str
    code: str = ""
    message: str = ""
    details: dict[str, Any] = Field(default_factory=dict)


class UsageMessage(Document):
    """What a kernel and its GPUs have done since the last one of these, for who watches. ``usage.samples``: the new
    ones only, and the last few minutes in the first message of a link."""

    type: Literal["usage"] = "usage"
    usage: KernelUsage


class Undeliverable(Document):
    """Envelopes for this incarnation cannot be delivered: it has ended, or holds no GPU at the moment."""

    type: Literal["undeliverable"] = "undeliverable"
    incarnation: str
    ended: bool


FromClient = Annotated[
    ClientHello
    | AttachRequest
    | CancelRequest
    | ReleaseRequest
    | RestartRequest
    | BudgetRequest
    | KeepRequest
    | Watch
    | LocalActivity
    | Goodbye,
    Field(discriminator="type"),
]
ToClient = Annotated[
    LinkWelcome | LinkRefused | State | Reply | UsageMessage | Undeliverable, Field(discriminator="type")
]

from_client: TypeAdapter[FromClient] = TypeAdapter(FromClient)
to_client: TypeAdapter[ToClient] = TypeAdapter(ToClient)
