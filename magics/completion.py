"""Tab behind ``%%gpu`` and ``%gpu``: GPU types, options and sub-commands."""

from __future__ import annotations

import re
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, completion_matcher

from ..wire.commands.bill import BYS
from ..wire.commands.run import COMMANDS
from .cell_options import OPTIONS
from .gpu_magics import GpuMagics

GENERIC_SPECS = ("any", "cpu")
MATCHER = "perijove"
OURS = re.compile(r"\s*(?P<percents>%{1,2})gpu\s+(?:\S+\s+)*(?:\S+\|)?(?P<word>[^\s|]*)")


def completions(magics: GpuMagics, line: str) -> list[str]:
    """What may follow, for the text of the line up to the cursor."""
    cell, _, rest = line.lstrip().partition("gpu")
    words = rest.split()
    word = "" if not rest or rest[-1].isspace() else words[-1].rpartition("|")[2]
    before = words if not rest or rest[-1].isspace() else words[:-1]
    if cell == "%%":
        choices = [*OPTIONS] if before else [*_specs(magics), *OPTIONS]
    elif not before:
        choices = [*COMMANDS]
    elif before[0] == "attach":
        choices = _specs(magics)
    elif before[0] == "bill" and before[-1] == "--by":
        choices = [*BYS]
    elif before[0] in ("get", "put"):
        choices = [name for name in magics.notebook.shell.user_ns if not name.startswith("_")]
    elif before[0] in ("release", "interrupt", "restart"):
        choices = [*magics.notebook.kernels]
    else:
        choices = {"bill": ["--all", "--by", "--embed"], "budget": ["none", "month", "user"]}.get(before[0], [])
    return [choice for choice in choices if choice.lower().startswith(word.lower())]


def register(magics: GpuMagics) -> None:
    """Hook into IPython's completer, before all others: behind our magics there is no Python to complete."""

    def complete(context: CompletionContext) -> SimpleMatcherResult:
        line = context.text_until_cursor
        found = OURS.fullmatch(line)
        if found is None or (found["percents"] == "%%" and context.cursor_line > 0):
            return {"completions": []}
        return {
            "completions": [SimpleCompletion(text=choice, type="magic") for choice in completions(magics, line)],
            "matched_fragment": found["word"],
            "suppress": True,
            "ordered": True,
        }

    shell: Any = magics.shell
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != MATCHER]
    as_matcher: Any = completion_matcher(api_version=2, identifier=MATCHER, priority=100)
    matchers.append(as_matcher(complete))


def _specs(magics: GpuMagics) -> list[str]:
    """GPU models of the price book's kind; those the notebook already uses come first."""
    used = [kernel.spec for kernel in magics.notebook.kernels.values()]
    return list(dict.fromkeys([*used, *KNOWN_MODELS, *GENERIC_SPECS]))


KNOWN_MODELS = ("H100", "H200", "B200", "A100", "A100-80GB", "L40S", "A10", "L4", "T4")
