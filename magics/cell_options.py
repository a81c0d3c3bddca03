"""The line behind ``%%gpu``: a GPU spec and options, read with clear errors."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from ..wire.commands.budget import read_amount
from ..wire.errors import UsageError
from ..wire.gpu_spec import GpuSpec, parse_gpu_spec

OPTIONS = {
    "--in": "names to send (comma-separated), instead of those the cell reads",
    "--out": "names whose full value must come back, at any size",
    "--keep": "names that stay remote, as RemoteValues",
    "--kernel": "a name, for a second kernel on the same GPU spec",
    "--timeout": "seconds after which the cell is interrupted",
    "--budget": "dollars that this kernel may cost altogether",
    "--no-vars": "no variables travel, in either direction",
    "--quiet": "no status line",
}


@dataclass(frozen=True, slots=True)
class CellOptions:
    """``spec`` is None when the line names none: the notebook's last one is meant."""

    spec: GpuSpec | None
    names_in: tuple[str, ...] | None = None
    names_out: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    kernel: str | None = None
    timeout_s: float | None = None
    budget_nanodollars: int | None = None  # None: as it is
    transfer: bool = True
    quiet: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"%%gpu: {message}; see %%gpu?")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="%%gpu", add_help=False, allow_abbrev=False)
    parser.add_argument("spec", nargs="?")
    for name in ("--in", "--out", "--keep"):
        parser.add_argument(name, dest=name.strip("-") + "_names", metavar="NAME[,NAME]")
    parser.add_argument("--kernel", metavar="NAME")
    parser.add_argument("--timeout", type=float, metavar="S")
    parser.add_argument("--budget", metavar="USD")
    parser.add_argument("--no-vars", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    return parser


_PARSER = _parser()


@lru_cache(maxsize=256)
def parse_cell_line(line: str) -> CellOptions:
    """Read the line behind ``%%gpu``.

    Raises:
        UsageError: naming what cannot be read.
        InvalidGpuSpec: likewise for the GPU spec.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%%gpu: the line cannot be read ({error}); see %%gpu?") from None
    for word in words:
        if word.split("=")[0] in ("--env", "--background"):
            raise UsageError(f"%%gpu: {word.split('=')[0]} is not available in this version; leave it out")
    given = _PARSER.parse_args(words)
    if given.timeout is not None and given.timeout <= 0:
        raise UsageError("%%gpu: --timeout takes a positive number of seconds; see %%gpu?")
    return CellOptions(
        spec=parse_gpu_spec(given.spec) if given.spec else None,
        names_in=_names(given, "in", none=True),
        names_out=_names(given, "out") or (),
        keep=_names(given, "keep") or (),
        kernel=given.kernel,
        timeout_s=given.timeout,
        budget_nanodollars=None if given.budget is None else read_amount(given.budget, "%%gpu: --budget"),
        transfer=not given.no_vars,
        quiet=given.quiet,
    )


def _names(given: Any, option: str, *, none: bool = False) -> tuple[str, ...] | None:
    text: str | None = getattr(given, f"{option}_names")
    if text is None:
        return None if none else ()
    return check_names([part.strip() for part in text.split(",") if part.strip()], f"%%gpu: --{option}")


def check_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Python names, or a UsageError that says which word is none."""
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"{where}: {name!r} is no variable's name")
    return tuple(names)
