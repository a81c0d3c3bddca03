"""What a ``%gpu`` line came to, for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class ShowPanel(Enum):
    """When the kernel's panel is to be seen in a line's output."""

    ALWAYS = auto()
    WHEN_DRAWN = auto()  # beside what the line shows, once a front-end has said that it can draw it


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """``text`` is printed on stdout; ``data`` is a MIME bundle, shown as the cell's result, with its output's metadata.

    Either may be empty. With a ``display_id`` the bundle is displayed instead, so that it can be replaced later.
    """

    text: str = ""
    data: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    panel: ShowPanel | None = None
    display_id: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """Of the message that shows it."""
        content: dict[str, Any] = {"data": dict(self.data or {}), "metadata": dict(self.metadata)}
        return content | {"transient": {"display_id": self.display_id}} if self.display_id else content
