"""The notebooks, by subject."""

from __future__ import annotations

from ..notebook import Notebook
from . import (
    asking,
    asynchronous,
    coherence,
    definitions,
    displays,
    failures,
    libraries,
    magic_commands,
    streams,
    widgets,
)

NOTEBOOKS: tuple[Notebook, ...] = (
    *streams.NOTEBOOKS,
    *displays.NOTEBOOKS,
    *widgets.NOTEBOOKS,
    *asking.NOTEBOOKS,
    *magic_commands.NOTEBOOKS,
    *failures.NOTEBOOKS,
    *asynchronous.NOTEBOOKS,
    *coherence.NOTEBOOKS,
    *definitions.NOTEBOOKS,
    *libraries.NOTEBOOKS,
)
