"""Which names must travel together: those that share a mutable object, directly or through others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from .examine import Examined
from .fingerprint import Address, Fingerprint
from .handles import Scope
from .packing import CannotPack
from .survey import Node, Survey, survey


def partition(nodes_of: Mapping[str, Set[Node]]) -> list[tuple[str, ...]]:
    """Split names into groups that share no mutable object; order follows the input, inside groups and between."""
    leader: dict[str, str] = {name: name for name in nodes_of}
    first_holder: dict[Node, str] = {}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    shares = False
    for name, nodes in nodes_of.items():
        for node in nodes:
            holder = first_holder.setdefault(node, name)
            if holder is not name:
                shares = True
                leader[find(name)] = find(holder)
    if not shares:
        return [(name,) for name in nodes_of]
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
    holds_namespace: bool = False
    is_plain: bool = False

    def examined(self, scope: Scope, known: Mapping[Address, bytes] | None = None) -> Examined:
        """Raises ``CannotPack`` for a group that would take every variable with it."""
        if self.holds_namespace:
            raise CannotPack("it holds the whole namespace (`globals()`)")
        return Examined(self.values, scope, self.storages, known, is_plain=self.is_plain)


def group_values(values: Mapping[str, object], surveys: Mapping[str, Survey]) -> list[Group]:
    """Partition named values by the mutable objects they share."""
    groups = partition({name: surveys[name].nodes for name in values})
    return [join(names, values, surveys) for names in groups]


def join(names: Sequence[str], values: Mapping[str, object], surveys: Mapping[str, Survey]) -> Group:
    """These names as one group. Always in the same order: a fingerprint depends on it."""
    if len(names) == 1:
        found = surveys[names[0]]
        return Group((names[0],), (values[names[0]],), found.storages, found.holds_namespace, found.is_plain)
    ordered = tuple(sorted(names))
    storages: Counter[int] = Counter()
    for name in ordered:
        storages.update(surveys[name].storages)
    return Group(
        ordered,
        tuple(values[name] for name in ordered),
        storages,
        any(surveys[name].holds_namespace for name in ordered),
        all(surveys[name].is_plain for name in ordered),
    )


def group_now(names: Sequence[str], scope: Scope) -> Group:
    """These names, as they are bound now, as one group: whether or not they (still) share anything."""
    values = {name: scope.user_ns[name] for name in names}
    return join(names, values, {name: survey(value, scope) for name, value in values.items()})


def fingerprints_alone(
    names: Sequence[str], whole: Fingerprint, scope: Scope, known: Mapping[Address, bytes] | None = None
) -> dict[str, Fingerprint]:
    """Of each name by itself; ``whole`` is that of all of them as one group."""
    if len(names) == 1:
        return {names[0]: whole}
    return {name: fingerprint_of(group_now((name,), scope), scope, known) for name in names}


def fingerprint_of(group: Group, scope: Scope, known: Mapping[Address, bytes] | None = None) -> Fingerprint:
    """The fingerprint of a group; a value that cannot be pickled is known by its identity only."""
    try:
        return group.examined(scope, known).fingerprint
    except CannotPack:
        return b"identity:" + repr([id(value) for value in group.values]).encode()
