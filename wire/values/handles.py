"""References to objects that live in the other interpreter.

Both ends have to recognise such a reference while they walk or pickle a graph, but only the notebook's end gives it
a face (``RemoteValue``). So the ground knows this much and no more.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any


class RemoteReference:
    """Base of the notebook's ``RemoteValue``: something whose object is held over there under ``handle``."""

    __slots__ = ("__weakref__", "_handle", "_lost")

    _handle: str
    _lost: bool


def no_handle(obj: object) -> str | None:
    """The notebook's end holds no objects on behalf of the other end."""
    return None


@dataclass(frozen=True, slots=True)
class Scope:
    """What one end's pickler and unpickler must know of their interpreter.

    ``user_ns`` is IPython's user namespace: functions whose globals it is are rebuilt on the other end's one.
    ``handle_of`` says under which handle an object of this end is known to the other end, if it is;
    ``describe`` gives what travels with such a handle; ``resolve`` turns a received handle into the object
    (kernel's end) or into the ``RemoteValue`` that stands for it (notebook's end).
    """

    user_ns: MutableMapping[str, Any]
    resolve: Callable[[str, dict[str, Any]], object]
    handle_of: Callable[[object], str | None] = no_handle
    describe: Callable[[object], dict[str, Any]] = field(default=lambda obj: {})
