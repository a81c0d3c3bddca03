"""What a ``%gpu`` line came to, for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """``text`` is printed on stdout; ``data`` is a MIME bundle, shown as the cell's result, with its output's metadata.

    Either may be empty."""

    text: str = ""
    data: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
