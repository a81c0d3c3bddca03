"""How far a ``perijove run`` is: one live line on a terminal, a line for each cell anywhere else. All on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..wire.models import KernelState, KernelView
from ..wire.money import amount_text


def kernel_text(view: KernelView | None) -> str:
    """Where the kernel stands, in a few words."""
    if view is None:
        return "no GPU yet"
    match view.state:
        case KernelState.QUEUED:
            return view.queue_reason or f"waiting for {view.gpu_spec}"
        case KernelState.STARTING:
            return f"attaching {_gpus(view)}"
        case KernelState.ATTACHED:
            return f"{_gpus(view)} on {view.gpus.agent_name}" if view.gpus else view.gpu_spec
        case KernelState.SUSPENDED | KernelState.SAVED:
            return "GPU released, variables kept"
        case KernelState.FROZEN:
            return "paused: the GPU's machine is out of contact"
    return "no GPU"


def cost_text(view: KernelView | None, spent_nanodollars: int) -> str:
    if view is None or not spent_nanodollars:
        return ""
    return amount_text(spent_nanodollars, simulated=bool(view.spent_simulated_nanodollars))


def _gpus(view: KernelView) -> str:
    if view.gpus is None:
        return view.gpu_spec
    count = f"{view.gpus.count} × " if view.gpus.count > 1 else ""
    return f"{count}{view.gpus.model}{' (simulated)' if view.gpus.simulated else ''}"


class RunProgress:
    """A context manager; ``kernel`` and ``cost`` are asked for whenever there is something to show."""

    def __init__(self, cells: int, kernel: Callable[[], str], cost: Callable[[], str], console: Console) -> None:
        self._cells = cells
        self._kernel = kernel
        self._cost = cost
        self._console = console
        self._number = 0
        self._began = 0.0
        self._said = ""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[about]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(f"cell 0 of {cells}", total=cells, about="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def cell_begins(self) -> None:
        self._number += 1
        self._began = time.monotonic()
        self.refresh()

    def cell_ended(self) -> None:
        self._bar.update(self._task, completed=self._number)
        if not self._console.is_terminal:
            self._line(f"ran {time.monotonic() - self._began:.1f} s")
        self.refresh()

    def refresh(self) -> None:
        """Something may have changed."""
        parts = [part for part in (self._kernel(), self._cost()) if part]
        self._bar.update(self._task, description=f"cell {self._number} of {self._cells}", about=" · ".join(parts))
        if not self._console.is_terminal and parts[0] != self._said and parts[0].startswith("waiting"):
            self._said = parts[0]
            self._line(self._said)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        self.say(f"cell {self._number} of {self._cells} · {text}")
