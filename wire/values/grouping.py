"""Which names must travel together: those that share a mutable object, directly or through others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from .examine import Examined
from .fingerprint import Address
from .handles import Scope
from .survey import Node, Survey


def partition(nodes_of: Mapping[str, Set[Node]]) -> list[tuple[str, ...]]:
    """Split names into groups that share no mutable object; order follows the input, inside groups and between."""
    leader: dict[str, str] = {name: name for name in nodes_of}
    first_holder: dict[Node, str] = {}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for name, nodes in nodes_of.items():
        for node in nodes:
            holder = first_holder.setdefault(node, name)
            if holder is not name:
                leader[find(name)] = find(holder)
    groups: dict[str, list[str]] = {}
    for name in nodes_of:
        groups.setdefault(find(name), []).append(name)
    return [tuple(members) for members in groups.values()]


def connected(start: Set[str], nodes_of: Mapping[str, Set[Node]]) -> set[str]:
    """The names of ``nodes_of`` that share a mutable object with one of ``start``, through any number of steps."""
    found = set(start)
    for group in partition(nodes_of):
        if not found.isdisjoint(group):
            found.update(group)
    return found


@dataclass(frozen=True, slots=True)
class Group:
    """Names that travel together, their values, and what the walk through them found."""

    names: tuple[str, ...]
    values: tuple[object, ...]
    storages: Mapping[int, int]

    def examined(self, scope: Scope, known: Mapping[Address, bytes] | None = None) -> Examined:
        return Examined(self.values, scope, self.storages, known)


def group_values(values: Mapping[str, object], surveys: Mapping[str, Survey]) -> list[Group]:
    """Partition named values by the mutable objects they share."""
    groups = partition({name: surveys[name].nodes for name in values})
    return [_group(names, values, surveys) for names in groups]


def _group(names: tuple[str, ...], values: Mapping[str, object], surveys: Mapping[str, Survey]) -> Group:
    if len(names) == 1:
        return Group(names, (values[names[0]],), surveys[names[0]].storages)
    storages: Counter[int] = Counter()
    for name in names:
        storages.update(surveys[name].storages)
    return Group(names, tuple(values[name] for name in names), storages)
