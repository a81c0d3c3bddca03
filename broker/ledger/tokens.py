"""Tokens: made once, shown once, kept as hashes. A token carries 256 random bits, so a fast hash is enough."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select

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


def create_token(connection: Connection, role: Role, name: str) -> str:
    """Make a token. It cannot be shown again: only its hash is kept."""
    token = PREFIX + secrets.token_urlsafe(32)
    row = {"hash": hash_of(token), "role": role.value, "name": name, "created_at": time.time_ns() // 1_000_000}
    connection.execute(insert(tokens).values(row))
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
