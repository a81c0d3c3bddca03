"""Which of the notebook's variables a cell needs, and how they hang together.

From the names a cell mentions, two steps lead to the names that travel, repeated until nothing is added: the names that
functions and classes among the values read in turn, and the names that share a mutable object with one of the values
(otherwise a change made over there would reach one alias and not the other).
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from ...wire.values.grouping import Group, connected, group_values
from ...wire.values.handles import RemoteReference, Scope
from ...wire.values.survey import ATOMS, Survey, survey

# Looking for aliases among the names a cell does not mention must not cost more than the cell.
_ALIAS_BUDGET = 1_000


@dataclass(slots=True)
class Selection:
    """``direct`` names are in the cell's own code; the others follow from them."""

    direct: frozenset[str]
    values: dict[str, object] = field(default_factory=dict)
    surveys: dict[str, Survey] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    mentioned: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)

    def groups(self) -> list[Group]:
        """All selected values but atoms, and modules and handles, which travel as references, by what they share."""
        plain = {
            name: value
            for name, value in self.values.items()
            if name in self.surveys and not isinstance(value, (types.ModuleType, RemoteReference))
        }
        return group_values(plain, self.surveys)


# Code that can read any variable by a name that nobody sees before it runs.
_LOOKS_UP_BY_TEXT = frozenset(
    {"eval", "exec", "compile", "globals", "locals", "vars", "query", "run_cell", "ev", "user_ns", "run_line_magic"}
)


def looks_up_by_text(selection: Selection, reads: Set[str], attributes: Set[str]) -> bool:
    """The cell, or a function it may call, can read variables that it does not mention.

    Names the kernel does not have are asked for when they are met; for names it has, it must have the newest value.
    """
    words = (reads, attributes, selection.mentioned, selection.attributes)
    return any(not _LOOKS_UP_BY_TEXT.isdisjoint(each) for each in words)


def select(direct: Iterable[str], variables: Mapping[str, object], scope: Scope) -> Selection:
    """Close ``direct`` over ``variables`` (all of the user's)."""
    selection = Selection(frozenset(name for name in direct if name in variables))
    pending = set(selection.direct)
    others: dict[str, Survey] | None = None
    while pending:
        _take(selection, pending, variables, scope)
        if not any(found.nodes for found in selection.surveys.values()):
            break
        if others is None:
            others = _survey_others(variables, selection, scope)
        nodes = {name: found.nodes for name, found in {**others, **selection.surveys}.items()}
        pending = connected(selection.values.keys(), nodes) - selection.values.keys()
    return selection


def _take(selection: Selection, pending: set[str], variables: Mapping[str, object], scope: Scope) -> None:
    """Add names, and the names that functions and classes in their values read, to a fixpoint."""
    while pending:
        name = pending.pop()
        if name in selection.values or name not in variables:
            continue
        value = selection.values[name] = variables[name]
        if type(value) in ATOMS:
            continue
        found = survey(value, scope)
        selection.surveys[name] = found
        selection.attributes |= found.attributes
        selection.mentioned |= found.names
        selection.modules |= found.modules
        pending |= found.names


def _survey_others(variables: Mapping[str, object], selection: Selection, scope: Scope) -> dict[str, Survey]:
    found: dict[str, Survey] = {}
    for name, value in variables.items():
        kind = type(value)
        if name in selection.values or kind in ATOMS or kind is types.ModuleType:
            continue
        found[name] = survey(value, scope, _ALIAS_BUDGET)
    return found
