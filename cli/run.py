"""``perijove run``: one notebook on a GPU, from a terminal or a script."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..kernel.kernelspecs import kernelspec
from ..wire.errors import PerijoveError, UsageError
from ..wire.gpu_spec import GpuSpec, parse_gpu_spec
from ..wire.kernelspec_names import spec_in_name
from ..wire.money import amount_text
from .gpu_option import gpu_spec_option

if TYPE_CHECKING:
    from nbformat.notebooknode import NotebookNode

    from .notebook_run import Ending, Run

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(PerijoveError):
    """A cell failed, or the run was stopped; what to exit with goes along."""

    code = "notebook_failed"

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", exists=True, dir_okay=False)],
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu", metavar="SPEC", help="Such as H100. Without it: what the notebook's own kernel asks for, else any."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Without it: NAME.out.ipynb beside NOTEBOOK.")
    ] = None,
    inplace: Annotated[bool, typer.Option("--inplace", help="Write the outputs into NOTEBOOK itself.")] = False,
    allow_errors: Annotated[bool, typer.Option("--allow-errors", help="Go on after a cell that fails.")] = False,
) -> None:
    """Run a notebook on a GPU, without a front-end; its outputs and its cost are in OUT.

    OUT is written after every cell. Exit status 1 when a cell fails, with its error on stderr. Ctrl-C interrupts the
    running cell, keeps what there is, and frees the GPU.
    """
    missing = [module for module in ("nbclient", "nbformat") if importlib.util.find_spec(module) is None]
    if missing:
        raise PerijoveError(f"running notebooks needs {' and '.join(missing)}: pip install 'perijove[run]'")
    from .notebook_file import read_notebook  # after the check; and the other commands need none of it
    from .notebook_run import Run

    target = output_path(notebook, output, inplace=inplace)
    document = read_notebook(notebook)
    spec = gpu_spec_option(gpu) if gpu is not None else own_spec(document)
    ending = execute(
        Run(
            notebook=document,
            output=target,
            directory=notebook.resolve().parent,
            kernelspec=kernelspec(spec),
            path=notebook.resolve(),
            kernel_name=f"perijove-run-{secrets.token_hex(8)}",
            gpu=str(spec),
            allow_errors=allow_errors,
        )
    )
    report(ending, target, document)


def execute(run: Run) -> Ending:
    """Run it, with progress on stderr."""
    from rich.console import Console

    from .notebook_file import code_cells
    from .notebook_run import NotebookRunner
    from .run_progress import RunProgress, cost_text, kernel_text
    from .run_watch import RunWatch

    watch = RunWatch(run.kernel_name)
    progress = RunProgress(
        len(code_cells(run.notebook)),
        kernel=lambda: kernel_text(watch.view),
        cost=lambda: cost_text(watch.view, watch.spent_nanodollars),
        console=Console(stderr=True),
    )

    async def to_the_end() -> Ending:
        return await NotebookRunner(run, watch, progress).run()

    with progress:
        return asyncio.run(to_the_end())


def output_path(notebook: Path, output: Path | None, *, inplace: bool) -> Path:
    """Where the outputs go. The notebook itself is only overwritten when that was asked for.

    Raises:
        UsageError: when the options contradict each other, or the place cannot be.
    """
    if inplace:
        if output is not None:
            raise UsageError(
                "--inplace writes into the notebook itself, so -o has no meaning with it; give one of them"
            )
        return notebook
    if output is None:
        return notebook.with_name(f"{notebook.stem}.out.ipynb")
    if output.exists() and output.samefile(notebook):
        raise UsageError(f"-o {output} is the notebook itself; choose another name, or say --inplace")
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output} is no place for a file; name a file in a folder that is there")
    return output


def own_spec(notebook: NotebookNode) -> GpuSpec:
    """What the kernel that the notebook was saved with asks for; any GPU if that was none of ours."""
    return parse_gpu_spec(spec_in_name(str(notebook.metadata.get("kernelspec", {}).get("name", ""))))


def report(ending: Ending, output: Path, notebook: NotebookNode) -> None:
    """Say how it ended.

    Raises:
        NotebookFailed: unless it ended well.
    """
    from .notebook_run import Status, cell_traceback, error_text

    if ending.cost_error is not None:
        print(f"perijove: what it cost is not known here: {ending.cost_error}", file=sys.stderr)
    print(f"{os.fspath(output)} · {summary(ending)}")
    match ending.status:
        case Status.INTERRUPTED:
            where = f"in cell {ending.failed_cell}" if ending.failed_cell else "before the first cell"
            message = f"stopped {where}; {output} has what came until then"
            raise NotebookFailed(message, 128 + (ending.signal or 0))
        case Status.ERROR:
            shown = cell_traceback(notebook, ending.failed_cell) if ending.failed_cell else ""
            if "\n" in shown.strip():  # an error of ours is one line, which is said below
                print(shown if sys.stderr.isatty() else _COLOURS.sub("", shown), file=sys.stderr)
            where = f"cell {ending.failed_cell} failed: " if ending.failed_cell else ""
            raise NotebookFailed(f"{where}{error_text(ending.error)}; {output} has what came until then")


def summary(ending: Ending) -> str:
    """``H100 (simulated) on host-a · starting 0.0 s, busy 3.4 s, idle 0.1 s · $0.0039 simulated``."""
    cost = ending.cost
    if not cost.get("leases"):
        return "no GPU was used"
    simulated = cost["simulated"]
    durations = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in cost["seconds"].items())
    gpu = f"{cost['gpu']}{' (simulated)' if simulated else ''} on {cost['agent']}"
    return f"{gpu} · {durations} · {amount_text(cost['cost_nanodollars'], simulated=simulated)}"
