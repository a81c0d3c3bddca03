"""Names that a cell uses and nobody foresaw: looked up in the notebook while the cell runs.

Python looks a global name up in the namespace and then in ``namespace["__builtins__"]``. A dict subclass there gets a
last word through ``__missing__``. That serves plain names, functions, ``%timeit``, ``!cmd {v}`` and ``eval``; it does
not serve ``globals()["h"]`` nor ``df.query("@x")``, which look into the namespace only: for these the notebook reads
the cell's texts. ``Out[5]`` is looked up as ``_5`` is.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

_REPLACED_FOR_EACH_CELL = "input"  # by ipykernel, after ``refresh``: never taken from the copy


class OnDemandBuiltins(dict[str, Any]):
    """The builtins, and behind them ``fetch(name)``, which raises ``KeyError`` for a name that nobody knows.

    Holds a copy of the builtins, because lookups in a real dict stay fast; ``refresh`` follows changes to them.
    """

    __slots__ = ("_fetch",)

    def __init__(self, fetch: Callable[[str], object]) -> None:
        super().__init__(vars(builtins))
        self.pop(_REPLACED_FOR_EACH_CELL, None)
        self._fetch = fetch

    def refresh(self) -> None:
        """Follow what was added to or replaced in ``builtins`` since the last cell."""
        current = vars(builtins)
        if len(self) > len(current):
            for name in [name for name in self if name not in current]:
                del self[name]
        self.update(current)
        self.pop(_REPLACED_FOR_EACH_CELL, None)

    def __missing__(self, name: str) -> object:
        try:
            return vars(builtins)[name]
        except KeyError:
            return self._fetch(name)


class OnDemandOutputs(dict[int, Any]):
    """``Out``: the results are the notebook's, so one that a cell asks for is fetched from there."""

    __slots__ = ("_fetch",)

    def __init__(self, known: dict[int, Any], fetch: Callable[[str], object]) -> None:
        super().__init__(known)
        self._fetch = fetch

    def __missing__(self, number: int) -> object:
        try:
            return self._fetch(f"_{number}")
        except KeyError:
            raise KeyError(number) from None
