"""Tokens: made once, shown once, kept as hashes. A token carries 256 random bits, so a fast hash is enough."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select

from .audit import Action, Actor, AuditEntry, append, somebody_on_this_machine, wall_now
from .tables import tokens

PREFIX = "pj_"


class Role(StrEnum):
    USER = "user"  # own kernels only
    AGENT = "agent"  # its control and data links only
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token belongs to."""

    role: Role
    name: str
    token_hash: str


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create_token(connection: Connection, role: Role, name: str, by: Actor | None = None) -> str:
    """Make a token, and record by whom (None: somebody on this machine). It cannot be shown again: its hash is kept."""
    token, at = PREFIX + secrets.token_urlsafe(32), wall_now()
    row = {"hash": hash_of(token), "role": role.value, "name": name, "created_at": at}
    connection.execute(insert(tokens).values(row))
    detail = {"role": role.value, "name": name}
    about = name if role is not Role.AGENT else ""  # agents are nobody's
    append(connection, AuditEntry(at, by or somebody_on_this_machine(), Action.CREATE_TOKEN, about, detail=detail))
    return token


def identify(connection: Connection, token: str) -> Identity | None:
    """Whose token this is, if it is one that holds."""
    wanted = hash_of(token)
    row = (
        connection.execute(select(tokens).where(tokens.c.hash == wanted, tokens.c.revoked_at.is_(None)))
        .mappings()
        .one_or_none()
    )
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        return None
    return Identity(Role(row["role"]), row["name"], wanted)
