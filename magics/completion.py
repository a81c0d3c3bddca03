"""Tab behind ``%%gpu`` and ``%gpu``: GPU types, options and sub-commands."""

from __future__ import annotations

from typing import Any

from .cell_options import OPTIONS
from .gpu_magics import GpuMagics

GENERIC_SPECS = ("any", "cpu")


def completions(magics: GpuMagics, line: str) -> list[str]:
    """What may follow, for the text of the line up to the cursor."""
    cell, _, rest = line.lstrip().partition("gpu")
    words = rest.split()
    word = "" if not rest or rest[-1].isspace() else words[-1]
    before = words if not word else words[:-1]
    if cell == "%%":
        choices = [*OPTIONS] if before else [*_specs(magics), *OPTIONS]
    elif not before:
        choices = [*magics._commands()]
    elif before[0] == "attach":
        choices = _specs(magics)
    elif before[0] in ("get", "put"):
        choices = [name for name in magics.notebook.shell.user_ns if not name.startswith("_")]
    elif before[0] in ("release", "interrupt", "restart"):
        choices = [*magics.notebook.kernels]
    else:
        choices = ["--all"] if before[0] == "bill" else []
    return [choice for choice in choices if choice.lower().startswith(word.lower())]


def register(magics: GpuMagics) -> None:
    """Hook into IPython's completer; the hook is asked for lines that begin with our magics."""

    def complete(ip: Any, event: Any) -> list[str]:
        return completions(magics, event.text_until_cursor)

    shell: Any = magics.shell
    for name in ("%%gpu", "%gpu"):
        shell.set_hook("complete_command", complete, str_key=name)


def _specs(magics: GpuMagics) -> list[str]:
    """GPU models of the price book's kind; those the notebook already uses come first."""
    used = [kernel.spec for kernel in magics.notebook.kernels.values()]
    return list(dict.fromkeys([*used, *KNOWN_MODELS, *GENERIC_SPECS]))


KNOWN_MODELS = ("H100", "H200", "B200", "A100", "A100-80GB", "L40S", "A10", "L4", "T4")
