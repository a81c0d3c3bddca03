"""Cells that hold nothing but ``%gpu`` lines: they are run where they are read, and need no GPU."""

from __future__ import annotations

import re

_GPU_LINE = re.compile(r"\s*%gpu(?=\s|;|$)(?P<rest>.*)")


def gpu_lines(code: str) -> tuple[str, ...] | None:
    """The ``%gpu`` lines of a cell, in order and without ``%gpu``; None when it holds any other code.

    An empty tuple is a cell of comments and blanks. A line that ends in a backslash goes on in the next one, as
    IPython joins it; a ``;`` at the end, which hides results, is taken off.
    """
    lines = []
    for line in _joined(code):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _GPU_LINE.fullmatch(line)
        if found is None:
            return None
        lines.append(command_text(found["rest"]))
    return tuple(lines)


def _joined(code: str) -> list[str]:
    lines: list[str] = []
    goes_on = False
    for line in code.splitlines():
        if goes_on:
            lines[-1] += " " + line
        else:
            lines.append(line)
        goes_on = lines[-1].endswith("\\") and not lines[-1].lstrip().startswith("#")
        if goes_on:
            lines[-1] = lines[-1][:-1]
    return lines


def command_text(line: str) -> str:
    """What stands behind ``%gpu``, without a comment and a ``;`` at its end: IPython hands both to the magic.

    No command has a ``#`` of its own behind a blank.
    """
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().rstrip(";").strip()
