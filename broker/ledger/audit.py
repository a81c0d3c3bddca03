"""The audit log on disk: who did what to which kernel or token, append-only, beside the leases it speaks of.

It holds names, ids, GPUs and money; never what a cell says, prints or is called, and no token.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, or_, select

from ..core.clock import WallMs
from .tables import audit


class Via(StrEnum):
    """How an actor reached the broker. The value is what is stored and shown."""

    API = "api"  # an HTTP request
    LINK = "link"  # a notebook's own link
    JUPYTER = "jupyter"  # a Jupyter front-end's channels
    AGENT = "agent"  # an agent, by itself; the actor is its name
    RULE = "rule"  # one of the broker's rules; the actor is its name: idle, away, budget, …
    COMMAND = "command"  # a command on the broker's machine; the actor is the login name there


class Action(StrEnum):
    ATTACH = "attach"
    RELEASE = "release"
    CREATE_KERNEL = "create_kernel"
    RESTART_KERNEL = "restart_kernel"
    END_KERNEL = "end_kernel"
    SET_BUDGET = "set_budget"  # of one kernel
    SET_LIMIT = "set_limit"  # of a user: all that they use, a month, each kernel
    KEEP_GPU = "keep_gpu"
    DRAIN_AGENT = "drain_agent"
    UNDRAIN_AGENT = "undrain_agent"
    CREATE_TOKEN = "create_token"  # noqa: S105 - a word, not a token


@dataclass(frozen=True, slots=True)
class Actor:
    name: str
    via: Via


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """``user``: whose kernel or token it is about, who may read it, too. ``detail``: plain JSON, by action."""

    at: WallMs
    actor: Actor
    action: Action
    user: str
    kernel_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def append(connection: Connection, entry: AuditEntry) -> None:
    row = {
        "at": entry.at,
        "actor": entry.actor.name,
        "via": entry.actor.via.value,
        "action": entry.action.value,
        "user": entry.user,
        "kernel_id": entry.kernel_id,
        "detail": dict(entry.detail),
    }
    connection.execute(insert(audit).values(row))


def entries(
    connection: Connection,
    *,
    user: str | None = None,
    since: WallMs | None = None,
    before: int | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """Rows, the newest first. ``user``: only what that user did or what concerns them; ``before``: a ``seq``."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if user is not None:
        # An actor is a user's name only where that was checked by a token.
        by_token = audit.c.via.in_([Via.API.value, Via.LINK.value, Via.JUPYTER.value])
        query = query.where(or_(audit.c.user == user, (audit.c.actor == user) & by_token))
    if since is not None:
        query = query.where(audit.c.at >= since)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return [dict(row) for row in connection.execute(query).mappings()]


def somebody_on_this_machine() -> Actor:
    """Whoever may write to the ledger's file; the login name is a hint and no proof."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    return Actor(name, Via.COMMAND)


def wall_now() -> WallMs:
    return WallMs(time.time_ns() // 1_000_000)
