"""The life of a kernel as data: which event leads from which state to which. ``docs/lifecycle.md`` shows this table.

States not named here (``frozen``, ``saved``) belong to means of keeping state that need more than a process that
lives on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from ...wire.models import KernelState

S = KernelState


class Event(StrEnum):
    """What can happen to a kernel. The value is the wording of the documentation."""

    ASKED = "an attach is asked for"
    GRANTED = "the plan grants a GPU"
    LEFT_QUEUE = "the attach is cancelled, refused or abandoned"
    BOUND = "the agent has bound a process"
    BIND_FAILED = "the agent could not bind, and nobody else can"
    BIND_RETRIED = "the agent could not bind, or has lost the request; the kernel waits again"
    RESTARTED = "a restart is asked for"
    RELEASED_KEPT = "the GPU was given back, the process lives"
    RELEASED_LOST = "the GPU was given back, the process ended"
    PROCESS_ENDED = "the process ended by itself"
    AGENT_GONE = "the agent was out of contact for longer than its allowance"
    FOUND = "an agent reports a lease that the ledger missed"
    ENDED = "goodbye, DELETE, or the kernel was abandoned"


# Without a lease a kernel is suspended while its process lives, and detached otherwise.
AT_REST: Final = "at rest"
Target = KernelState | Literal["at rest"]

TRANSITIONS: Final[dict[tuple[KernelState, Event], Target]] = {
    (S.DETACHED, Event.ASKED): S.QUEUED,
    (S.DETACHED, Event.FOUND): S.ATTACHED,
    (S.DETACHED, Event.ENDED): S.TERMINATED,
    (S.QUEUED, Event.GRANTED): S.STARTING,
    (S.QUEUED, Event.LEFT_QUEUE): AT_REST,
    (S.QUEUED, Event.PROCESS_ENDED): S.QUEUED,
    (S.QUEUED, Event.FOUND): S.ATTACHED,
    (S.QUEUED, Event.ENDED): S.TERMINATED,
    (S.STARTING, Event.BOUND): S.ATTACHED,
    (S.STARTING, Event.BIND_FAILED): AT_REST,
    (S.STARTING, Event.BIND_RETRIED): S.QUEUED,
    (S.STARTING, Event.RELEASED_KEPT): S.SUSPENDED,
    (S.STARTING, Event.RELEASED_LOST): S.DETACHED,
    (S.STARTING, Event.PROCESS_ENDED): S.DETACHED,
    (S.STARTING, Event.AGENT_GONE): AT_REST,
    (S.STARTING, Event.ENDED): S.TERMINATED,
    (S.ATTACHED, Event.RESTARTED): S.STARTING,
    (S.ATTACHED, Event.RELEASED_KEPT): S.SUSPENDED,
    (S.ATTACHED, Event.RELEASED_LOST): S.DETACHED,
    (S.ATTACHED, Event.PROCESS_ENDED): S.DETACHED,
    (S.ATTACHED, Event.AGENT_GONE): AT_REST,
    (S.ATTACHED, Event.ENDED): S.TERMINATED,
    (S.SUSPENDED, Event.ASKED): S.QUEUED,
    (S.SUSPENDED, Event.PROCESS_ENDED): S.DETACHED,
    (S.SUSPENDED, Event.FOUND): S.ATTACHED,
    (S.SUSPENDED, Event.ENDED): S.TERMINATED,
}

HOLDS_GPU: Final = frozenset({S.STARTING, S.ATTACHED})
STATES: Final = (S.DETACHED, S.QUEUED, S.STARTING, S.ATTACHED, S.SUSPENDED, S.TERMINATED)


class ImpossibleTransition(Exception):
    """The core tried a step that the table does not have: a bug, never a user's doing."""


def next_state(state: KernelState, event: Event, *, process_lives: bool) -> KernelState:
    """The state after ``event``.

    Raises:
        ImpossibleTransition: when the table has no such step.
    """
    try:
        target = TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(f"{event.name} in state {state}") from None
    if target == AT_REST:
        return S.SUSPENDED if process_lives else S.DETACHED
    return KernelState(target)


def as_markdown() -> str:
    """The table for ``docs/lifecycle.md``."""
    rows = ["| state | event | next state |", "|---|---|---|"]
    for (state, event), target in TRANSITIONS.items():
        shown = "`suspended` if the process lives, else `detached`" if target == AT_REST else f"`{target}`"
        rows.append(f"| `{state}` | {event} | {shown} |")
    return "\n".join(rows)
