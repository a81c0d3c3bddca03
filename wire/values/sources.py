"""The source text of the cells that functions come from, so that the other side can show it.

A traceback, ``f??`` and ``inspect.getsource`` look a function's file name up in ``linecache``, where IPython keeps the
text of every cell, and tracebacks ask IPython's compiler which cell that was. So both travel with the function.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Sources = dict[str, list[Any]]


def sources_of(filenames: Iterable[str]) -> Sources:
    """By file name: the number of the cell, and its text. Nothing for files that exist on disk."""
    found: Sources = {}
    for filename in sorted(filenames):
        entry = linecache.cache.get(filename)
        if entry is not None and len(entry) == 4 and entry[1] is None:  # no modification time: never was a file
            found[filename] = [_cell_numbers().get(filename, 0), "".join(entry[2])]
    return found


def learn_sources(sources: Mapping[str, Sequence[Any]]) -> None:
    """Let this interpreter know texts that arrived."""
    numbers = _cell_numbers()
    for filename, (number, text) in sources.items():
        if filename not in linecache.cache:
            linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        if number > numbers.get(filename, 0):
            numbers[filename] = number


def _cell_numbers() -> dict[str, int]:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    numbers: dict[str, int] = getattr(getattr(shell, "compile", None), "_filename_map", {})
    return numbers
