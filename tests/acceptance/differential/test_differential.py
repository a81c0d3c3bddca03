"""A user puts ``%%gpu`` above a cell, or takes it away, and has the same notebook (docs/differences.md)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from . import announced
from .comparison import compared
from .conftest import Players
from .notebook import Differs, Notebook
from .notebooks import NOTEBOOKS

PAGE = Path(__file__).parents[3] / "docs" / "differences.md"


def _cases() -> list[object]:
    return [
        pytest.param(each, id=each.name, marks=[pytest.mark.xfail(strict=True, reason=each.bug)] if each.bug else [])
        for each in NOTEBOOKS
    ]


@pytest.mark.parametrize("notebook", _cases())
def test_a_notebook_is_the_same_with_and_without_gpu(players: Players, notebook: Notebook):
    plain, gpu = players.pair()
    try:
        found = compared(notebook, plain.play(notebook), gpu.play(notebook))
    except BaseException:
        players.renew()
        raise
    if notebook.ends_kernel or notebook.leaves_traces:
        players.renew()
    unannounced = [each for each in found if not any(_covers(differs, each) for differs in notebook.differs)]
    assert not unannounced, "\n".join(f"{where}\n  plain {one}\n  gpu   {other}" for where, one, other in unannounced)
    outdated = [differs for differs in notebook.differs if not any(_covers(differs, each) for each in found)]
    assert not outdated, "announced, but no difference any more"


def test_every_announced_difference_is_documented():
    text = re.sub(r"\s+", " ", PAGE.read_text()).partition("## Announced differences")[2]
    for key, sentence in announced.REASONS.items():
        assert sentence in text, f"{key} is not in {PAGE.name}"


def test_every_announcement_is_needed():
    used = {differs.why for notebook in NOTEBOOKS for differs in notebook.differs}
    assert used == set(announced.REASONS)


def test_names_are_unique():
    names = [notebook.name for notebook in NOTEBOOKS]
    assert len(set(names)) == len(names)


def _covers(differs: Differs, found: tuple[str, str, str]) -> bool:
    where, plain, gpu = found
    return fnmatchcase(where, differs.where) and differs.plain in plain and differs.gpu in gpu
