"""The yardstick: the same cells, all at home or some of them in the kernel, leave the same variables behind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perijove.magics.variables import RemoteValue
from perijove.wire.errors import ValueTransferError

# Statements that alias, mutate, rebind, delete, define and call; each tolerates whatever is bound.
STATEMENTS = [
    "a = [1]",
    "b = a",
    "c = {'a': a, 'n': 0}",
    "a.append(len(a))",
    "b = list(b)",
    "c['n'] += 1",
    "c['self'] = c",
    "d = (a, b)",
    "d[0].append('d')",
    "n = 3",
    "n += 1",
    "del n",
    "del a",
    "def f(x=a): x.append(n); return n",
    "n = f()",
    "def g():\n    global n\n    n = len(a)",
    "g()",
    "class K:\n    seen = []\n    def __init__(self): self.v = a; K.seen.append(n)",
    "k = K()",
    "k.v.append('k')",
    "K.seen.append(9)",
    "k2 = k",
    "m = type(k)()",
    "b, a = a, b",
    "for i in range(2): a.append(i)",
    "exec('e = [n]')",
    "e.append(eval('n'))",
    "h = lambda: (a, n)",
    "r = h()",
    "r[0].clear()",
    "import math",
    "s = math.sqrt(n)",
    "t = {frozenset([1]): a}",
    "t.update(c)",
    "u = [x for x in a if x != n]",
    "1 / 0",
    "_ = 5",
]


class _Namespace:
    """A namespace at home, in which a cell may fail."""

    def __init__(self) -> None:
        self.ns: dict[str, Any] = {"__name__": "__main__"}

    def run(self, cell: str) -> bool:
        try:
            exec(cell, self.ns)
        except Exception:
            return False
        return True


def shape(ns: dict[str, Any]) -> dict[str, str]:
    """The variables as text, with the sharing between them made visible."""
    names = sorted(name for name in ns if name in "abcdefghikmnrstuK" or name in ("k2", "math"))
    seen: dict[int, int] = {}

    def show(value: Any) -> str:
        if isinstance(value, RemoteValue):
            return f"remote {value!r}"
        if isinstance(value, type):
            return f"class {value.__name__} {show(value.seen)}"
        if callable(value):
            return "function"
        if type(value).__name__ == "module":
            return value.__name__
        if isinstance(value, (list, dict, tuple)) or hasattr(value, "v"):
            mutable = not isinstance(value, tuple)
            if mutable and id(value) in seen:
                return f"#{seen[id(value)]}"
            if mutable:
                seen[id(value)] = len(seen)
            if isinstance(value, dict):
                return "{" + ", ".join(f"{key!r}: {show(each)}" for key, each in value.items()) + "}"
            if hasattr(value, "v"):
                return f"{type(value).__name__}({type(value) is ns.get('K')}, {show(value.v)})"
            return "[" + ", ".join(map(show, value)) + "]"
        return repr(value)

    return {name: show(ns[name]) for name in names}


@pytest.fixture
def play(open_notebook):
    notebook = open_notebook()

    def run(cells: list[tuple[str, bool]]) -> None:
        for name in [
            name for name in notebook.ns if not name.startswith("_") and name not in notebook.shell.user_ns_hidden
        ]:
            del notebook.ns[name]
        home = _Namespace()
        for index, (cell, there) in enumerate(cells):
            expected = home.run(cell)
            failure = None
            try:
                notebook.gpu(cell) if there else exec(cell, notebook.ns)
            except Exception as error:
                failure = error
            assert not isinstance(failure, ValueTransferError), (cells[: index + 1], failure)
            done = failure is None
            assert done == expected, cells[: index + 1]
            assert shape(notebook.ns) == shape(home.ns), cells[: index + 1]

    return run


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cells=st.lists(st.tuples(st.sampled_from(STATEMENTS), st.booleans()), min_size=2, max_size=14))
def test_a_cell_may_run_on_either_side(play, cells):
    prelude = [("a = [1]", False), ("n = 1", True), ("c = {'a': a, 'n': 0}", False)]
    play(copy.deepcopy(prelude + cells))
