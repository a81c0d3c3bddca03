"""``%gpu`` and ``%%gpu`` in a kernel that is on the GPU already: the same notebook runs with them and without.

``%%gpu`` is taken off a cell before IPython reads it, so that the cell behaves as if it had none (``await``, results,
nested magics, line numbers); what it asks for is compared with what the kernel holds. A ``%gpu`` line in a cell of its
own never comes here: the kernel's front answers it, with a GPU or without. One among other code asks the front while
the cell runs.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from IPython.core.magic import no_var_expand

from ...wire.errors import NoSuchGpu, PerijoveError, UsageError, from_code
from ...wire.gpu_spec import GpuSpec, parse_gpu_spec

_HEAD = re.compile(r"%%gpu(?=\s|$)(?P<line>[^\n]*)")
# What these do to the process that runs the line, it could not survive or not see the end of.
_OF_ITS_OWN = frozenset({"release", "restart", "interrupt"})


@dataclass(frozen=True, slots=True)
class HeldGpu:
    """A GPU that the kernel holds, as its agent told it."""

    model: str
    memory_bytes: int


class Kernel(Protocol):
    @property
    def shell(self) -> Any: ...
    @property
    def held_gpus(self) -> Sequence[HeldGpu]: ...
    def ask_front(self, line: str) -> dict[str, Any]: ...


class GpuMagics:
    """Registered in the shell of every process, bound or spare."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        shell = kernel.shell
        shell.register_magic_function(self.gpu_line, "line", "gpu")
        shell.register_magic_function(self.gpu_cell, "cell", "gpu")
        shell.input_transformers_cleanup.insert(0, without_head)

    @no_var_expand
    def gpu_line(self, line: str) -> Any:
        """What this kernel's GPU does and costs, and what to do with it: `%gpu help` lists the commands."""
        check_line(line)
        answer = self._kernel.ask_front(line)
        if answer.get("status") != "ok":
            raise _as_error(answer)
        if text := answer.get("text"):
            print(text, end="" if text.endswith("\n") else "\n")
        data = answer.get("data")
        return Shown(data, answer.get("metadata") or {}) if data else None

    @no_var_expand
    def gpu_cell(self, line: str, cell: str) -> None:
        """Run this cell on a GPU of this kernel, as if `%%gpu` were not there.

        With a GPU spec (`%%gpu H100`) the cell fails if the kernel holds something else; `%gpu attach SPEC` in a cell
        of its own changes that. Variables need not travel: `--in`, `--out`, `--keep` and `--no-vars` mean nothing here.
        """
        self.check_head(line)
        self._kernel.shell.run_cell(cell).raise_error()

    def check(self, code: str) -> None:
        """Whether a cell may run, as far as its ``%%gpu`` line says; one without runs.

        Raises:
            UsageError, InvalidGpuSpec: the line cannot be read, or asks for what there is only in a local notebook.
            NoSuchGpu: the kernel holds something else than the line asks for.
        """
        if (head := _HEAD.match(code.lstrip())) is not None:
            self.check_head(head["line"])

    def check_head(self, line: str) -> None:
        given = read_head(line)
        if given.spec is not None:
            check_held(given.spec, self._kernel.held_gpus)
        if given.budget is not None:
            answer = self._kernel.ask_front(f"budget {given.budget}")
            if answer.get("status") != "ok":
                raise _as_error(answer)


def without_head(lines: list[str]) -> list[str]:
    """IPython's input transformer: a cell without its ``%%gpu`` line, and without what is blank before it."""
    for index, line in enumerate(lines):
        if _HEAD.match(line.lstrip()):
            return lines[index + 1 :]
        if line.strip():
            break
    return lines


@dataclass(frozen=True, slots=True)
class Head:
    """What matters here of the line behind ``%%gpu``."""

    spec: GpuSpec | None
    budget: str | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"%%gpu: {message}; see %%gpu?")


def read_head(line: str) -> Head:
    parser = _Parser(prog="%%gpu", add_help=False, allow_abbrev=False)
    parser.add_argument("spec", nargs="?")
    for name in ("--in", "--out", "--keep", "--budget", "--kernel", "--timeout"):
        parser.add_argument(name)
    for name in ("--no-vars", "--quiet"):
        parser.add_argument(name, action="store_true")
    try:
        given = parser.parse_args(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"%%gpu: the line cannot be read ({error}); see %%gpu?") from None
    for name, instead in (("kernel", "all cells run in this one"), ("timeout", "interrupt the cell instead")):
        if getattr(given, name) is not None:
            raise UsageError(f"%%gpu: --{name} is not available in a GPU kernel: {instead}; leave it out")
    return Head(parse_gpu_spec(given.spec) if given.spec else None, given.budget)


def check_held(spec: GpuSpec, held: Sequence[HeldGpu]) -> None:
    """A cell that asks for less than there is, or for no GPU, may run."""
    if spec.is_cpu:
        return
    for choice in spec.choices:
        if sum(choice.accepts(gpu.model, gpu.memory_bytes) for gpu in held) >= choice.count:
            return
    counts = Counter(gpu.model for gpu in held)
    there = ", ".join(f"{count} × {model}" for model, count in sorted(counts.items())) or "no GPU"
    raise NoSuchGpu(
        f"this cell asks for {spec}, and the kernel holds {there}; "
        f"run %gpu attach {spec} in a cell of its own first, or leave %%gpu {spec} out"
    )


def check_line(line: str) -> None:
    """Refuse what would end or move the process in the middle of a cell."""
    words = line.split()
    if words and (words[0] in _OF_ITS_OWN or (words[0] == "attach" and len(words) > 1)):
        raise UsageError(
            f"%gpu {line.strip()} would end or stop the cell it is in; put it in a cell of its own, without other code"
        )


class Shown:
    """A command's answer, shown where a cell's result is."""

    def __init__(self, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        self._data = dict(data)
        self._metadata = dict(metadata)

    def __repr__(self) -> str:
        return self._data.get("text/plain", "")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        return self._data, self._metadata


def _as_error(answer: Mapping[str, Any]) -> Exception:
    """The front's error under its own name, shown in one line."""
    code, text = str(answer.get("code") or ""), str(answer.get("evalue", ""))
    if code:
        error = from_code(code, text)
        if type(error) is not PerijoveError:
            return error
    named: Callable[[str], Exception] = type(str(answer.get("ename") or "PerijoveError"), (PerijoveError,), {})
    return named(text)
