"""When a kernel's panel is shown in the notebook: on request, and by itself where a cell takes longer than a second.

By itself only where a person looks on, and sees it: programs that run notebooks (nbclient, papermill) allow no input,
a terminal has no widgets, and a front-end without anywidget's script would show an error in its place. So the widget is
first made unseen, and shown when a front-end has said that it can draw it. VS Code loads widgets only when one is
shown, and finds the script beside the kernel's Python. ``PERIJOVE_PANEL=0`` and ``--quiet`` leave it out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.commands.tables import Table
from ..wire.errors import UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..widgets.notebook_panel import NotebookPanel
    from .outputs import Outputs

SHOW_AFTER_RUNNING_S = 1.0
SHOW_AFTER_WAITING_S = 3.0  # for a GPU; a line of text tells of it before
SHOW_AGAIN_AFTER_S = 2.0  # where a cell has cleared its output: a training loop may do so many times a second


Document = dict[str, Any]


class StatusWithPanel(Table):
    """Shown where a cell's result is: by ``show``, which is given the table's MIME bundle."""

    def __init__(self, table: Table, show: Callable[[Document], None]) -> None:
        super().__init__(table.headings, table.rows, table.note)
        self._show = show

    def _ipython_display_(self) -> None:
        self._show(self.bundle())


class CellPanel:
    """The panel of one remote kernel. For the notebook's main thread."""

    def __init__(
        self,
        shell: InteractiveShell,
        outputs: Outputs,
        make: Callable[[], NotebookPanel],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._shell = shell
        self._outputs = outputs
        self._make = make
        self._made: NotebookPanel | None = None
        self._wanted = False
        self._show_from = 0.0
        self._display_id = ""
        self._shown_at = 0.0
        self._cleared = 0

    def show(self) -> None:
        """Show it in the running cell's output, whatever else is true.

        Raises:
            UsageError: in a terminal, which has no widgets.
        """
        if self._outputs.kernel is None:
            raise UsageError(
                "%gpu monitor shows a live panel, and a terminal has no widgets; %gpu tells how things are"
            )
        self._show()

    def beside(self, table: Table) -> StatusWithPanel:
        return StatusWithPanel(table, self._show_beside)

    def _show_beside(self, shown: Document) -> None:
        self._outputs.published += 1
        self._panel.show_beside(shown, at_once=self._can_be_seen())

    # a cell ---------------------------------------------------------------------------------------------------------

    def cell_begins(self, *, wanted: bool) -> None:
        self._wanted = wanted and self._outputs.kernel is not None and os.environ.get("PERIJOVE_PANEL", "1") != "0"
        self._show_from = self._clock() + SHOW_AFTER_WAITING_S
        self._display_id = ""

    def cell_runs(self) -> None:
        """It has its GPU."""
        self._show_from = self._clock() + SHOW_AFTER_RUNNING_S

    def cell_goes_on(self) -> None:
        """Called now and then while the cell waits or runs."""
        now = self._clock()
        if not self._wanted or now < self._show_from:
            return
        if not self._display_id:
            if self._can_be_seen():
                self._show()
        elif self._outputs.cleared != self._cleared and now - self._shown_at >= SHOW_AGAIN_AFTER_S:
            self._show()

    def cell_ends(self) -> None:
        """What the notebook keeps of it says how things were at the end."""
        if self._display_id and self._outputs.cleared == self._cleared:
            self._panel.settle(self._display_id)
        self._wanted, self._display_id = False, ""

    def _can_be_seen(self) -> bool:
        self._panel.open()
        return self._panel.is_drawn or "__vsc_ipynb_file__" in self._shell.user_ns

    def _show(self) -> None:
        self._outputs.published += 1
        self._display_id = self._panel.show()
        self._shown_at, self._cleared = self._clock(), self._outputs.cleared

    @property
    def _panel(self) -> NotebookPanel:
        if self._made is None:
            self._made = self._make()
        return self._made
