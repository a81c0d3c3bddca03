"""What a notebook of this suite is made of.

A cell marked ``gpu`` is run twice: with ``%%gpu H100`` above it, and without. Everything else is the same in both runs,
and so must be everything that comes of it, but for the differences that the notebook itself lists.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
    """``answers`` are typed in when it asks for input; ``interrupt_at``: stop is pressed when it has printed that."""

    code: str
    line: str | None = None  # what stands above it in the run with %%gpu
    answers: tuple[str, ...] = ()
    allow_stdin: bool = True
    interrupt_at: str = ""

    def source(self, with_gpu: bool) -> str:
        return f"{self.line}\n{self.code}" if with_gpu and self.line is not None else self.code


@dataclass(frozen=True, slots=True)
class Say:
    """The front-end changes a widget's state, or sends it a message: the newest one with this model name."""

    model: str
    data: Mapping[str, Any]
    buffers: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Differs:
    """One difference that is announced: where, what either side shows, and the announcement's key.

    ``where`` is a pattern for paths as ``differences`` writes them; ``plain`` and ``gpu`` are (parts of) what must be
    found there.
    """

    where: str
    plain: str
    gpu: str
    why: str


@dataclass(frozen=True, slots=True)
class Notebook:
    name: str
    steps: tuple[Cell | Say, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    differs: tuple[Differs, ...] = ()
    ends_kernel: bool = False
    leaves_traces: bool = False  # such as settings of a library: not removed by a reset
    bug: str = ""  # a difference that should not be, and is not mended yet


def local(code: str, **options: Any) -> Cell:
    return Cell(_dedent(code), **options)


def gpu(code: str, options: str = "", **more: Any) -> Cell:
    """A cell that is run with ``%%gpu H100`` above it, and without."""
    return Cell(_dedent(code), line=f"%%gpu H100 {options}".strip(), **more)


def stays(why: str = "stays remote", /, **types: str) -> tuple[Differs, ...]:
    """The variables (or ``_1``: results) that are RemoteValues in the run with ``%%gpu``, and their types there."""
    found = []
    for name, kind in types.items():
        where = f"/after/{'underscored' if name.startswith('_') else 'variables'}/{name}"
        found.append(Differs(where, kind.rpartition(".")[2], f"remote {kind}", why))
    return tuple(found)


def old_results(*numbers: int) -> tuple[Differs, ...]:
    """The results of these local cells hold the very objects that a later ``%%gpu`` cell changes."""
    places = [f"/after/{place}*" for n in numbers for place in (f"underscored/_{n}", f"Out/{n}")]
    return tuple(Differs(place, "", "", "earlier results") for place in places)


def notebook(name: str, *steps: Cell | Say, **options: Any) -> Notebook:
    return Notebook(name, steps, **options)


def _dedent(code: str) -> str:
    return textwrap.dedent(code).strip("\n")
