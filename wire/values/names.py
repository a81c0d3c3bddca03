"""Which names of an IPython namespace are the user's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

# IPython's own, whatever they are bound to. Names with a leading underscore never travel as variables.
RESERVED = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
LAST_RESULTS = frozenset({"_", "__", "___"})
_ABSENT = object()


class ShellNames(Protocol):
    """The part of an ``InteractiveShell`` that says which names IPython put there by itself."""

    user_ns: dict[str, Any]
    user_ns_hidden: dict[str, Any]


def is_user_name(name: str, user_ns: Mapping[str, Any], hidden: Mapping[str, Any]) -> bool:
    """True when ``name`` is bound by the user: no underscore name, nothing that IPython injected and still is.

    ``open`` is on IPython's list, because its kernel replaces the builtin: the user's own ``open`` counts.
    """
    if name.startswith("_"):
        return False
    if name not in hidden:
        return name not in RESERVED
    return name == "open" and user_ns.get(name, _ABSENT) is not hidden[name]


def user_names(shell: ShellNames) -> list[str]:
    """All variables of the user, in the order they were first bound."""
    user_ns, hidden = shell.user_ns, shell.user_ns_hidden
    return [name for name in list(user_ns) if name[:1] != "_" and is_user_name(name, user_ns, hidden)]
