"""``%%gpu`` and ``%gpu``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core import magic
from IPython.core.magic import Magics, magics_class, no_var_expand

from ..wire.commands.describing import describe_gpus
from ..wire.commands.run import Outcome, run_command
from ..wire.front.answers import ShowPanel
from .cell_options import parse_cell_line
from .notebook import Notebook
from .notebook_surroundings import NotebookSurroundings
from .status_line import cell_status

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

F = TypeVar("F", bound=Callable[..., Any])
Named = Callable[[str], Callable[[F], F]]
# IPython types these decorators only for their form without a name.
cell_magic = cast("Named[Any]", magic.cell_magic)
line_magic = cast("Named[Any]", magic.line_magic)


@magics_class
class GpuMagics(Magics):
    """The magics of one shell."""

    def __init__(self, shell: InteractiveShell, notebook: Notebook) -> None:
        super().__init__(shell)
        self.notebook = notebook

    @no_var_expand
    @cell_magic("gpu")
    def run_cell(self, line: str, cell: str) -> None:
        """Run this cell on a remote GPU, as if it ran here.

        %%gpu H100          one H100            %%gpu H100|A100   the first that is free, in this order
        %%gpu H100:2        two of them         %%gpu 40GB        any with at least that memory
        %%gpu any           any GPU             %%gpu cpu         no GPU
        %%gpu               the same as the cell before

        Variables that the cell reads travel there, those it assigns come back (up to 1 MiB each; larger ones as a
        RemoteValue: x.get() brings it). Output, plots, widgets, input() and errors appear here. The first cell
        attaches a GPU; after a while without cells it is released, and the variables over there stay.

        --in a,b        names to send, instead of those the cell reads
        --out x         names whose full value must come back, at any size
        --keep x        names that stay remote, as RemoteValues
        --kernel NAME   a name, for a second kernel on the same GPU spec
        --timeout S     seconds after which the cell is interrupted
        --budget USD    dollars that this kernel may cost altogether, in this cell and all others
        --no-vars       no variables travel, in either direction
        --quiet         no status line

        `%gpu help` has the commands around it.
        """
        options = parse_cell_line(line)
        kernel = self.notebook.kernel_for(options.spec, options.kernel)
        run = None
        try:
            # IPython ends every cell magic's body with a newline, and cells are known by their text without it.
            run = kernel.run_cell(cell.removesuffix("\n"), options)
        finally:
            view = kernel.view
            finished = run or kernel.last_run
            if not options.quiet and view is not None and finished is not None and not finished.stopping:
                notices = [*([kernel.budget_left] if kernel.budget_left else []), *finished.notices]
                self.notebook.end_with(
                    cell_status(view, describe_gpus(view), kernel.attach_s, finished.ran_ms, notices)
                )

    @line_magic("gpu")
    def command(self, line: str) -> Any:
        """The state of this notebook's GPUs, and what to do with them. `%gpu help` lists the commands."""
        outcome = _run_at_once(run_command(line, NotebookSurroundings(self.notebook)))
        if outcome.text:
            print(outcome.text, end="")
        latest = self.notebook.latest
        if outcome.panel is ShowPanel.ALWAYS and latest is not None:
            latest.show_panel()
        elif outcome.panel is ShowPanel.WHEN_DRAWN and latest is not None and self.notebook.is_watched:
            assert outcome.table is not None
            return latest.status_with_panel(outcome.table)
        return outcome.table


def _run_at_once(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run what never waits: a notebook's commands block its main thread, where an interrupt can end them."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    raise AssertionError("a command of a notebook has waited")
