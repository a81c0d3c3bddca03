"""Tokens of a broker on this very machine, made in its ledger and kept in files that only this user can read."""

from __future__ import annotations

import os
from pathlib import Path

from ..broker.ledger.database import open_database
from ..broker.ledger.tokens import Role, create_token, identify
from ..broker.settings import BrokerSettings


def make_token(settings: BrokerSettings, role: Role, name: str) -> str:
    """A new token; the ledger keeps its hash."""
    engine = open_database(settings.url_of_database)
    try:
        with engine.begin() as connection:
            return create_token(connection, role, name)
    finally:
        engine.dispose()


def token_in_file(settings: BrokerSettings, path: Path, role: Role, name: str) -> str:
    """The token in ``path``; a new one is written there where there is none that this ledger knows."""
    engine = open_database(settings.url_of_database)
    try:
        with engine.begin() as connection:
            if path.exists():
                token = path.read_text("utf-8").strip()
                if token and identify(connection, token) is not None:
                    return token
            token = create_token(connection, role, name)
    finally:
        engine.dispose()
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token)
    return token
