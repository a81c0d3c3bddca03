"""Ids. Each kind of id has a prefix, so that a log line or an error says what it is about."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable

Entropy = Callable[[int], bytes]

INCARNATION_BYTES = 16
STREAM_BYTES = 8


def new_kernel_id() -> str:
    """A UUID in text form: the Jupyter kernel API's clients expect that shape in their URLs."""
    return str(uuid.uuid4())


def new_id(prefix: str, entropy: Entropy = secrets.token_bytes) -> str:
    """``lease-3f9c…``: 64 random bits behind the kind's name."""
    return f"{prefix}-{entropy(8).hex()}"


def new_incarnation(entropy: Entropy = secrets.token_bytes) -> bytes:
    """The random id of one kernel *process*; a new process is a new incarnation, never a silent one."""
    return entropy(INCARNATION_BYTES)


def new_stream(entropy: Entropy = secrets.token_bytes) -> bytes:
    """The random id of one numbered sequence of messages from one client."""
    return entropy(STREAM_BYTES)
