"""The numbers of cells. They are the front's: they go on when a process is followed by another one."""

from __future__ import annotations

import dataclasses

from ..jupyter_frames import JupyterFrame
from .messages import document, packed


class CellNumbers:
    def __init__(self) -> None:
        self.last = 0
        self._process_last = 0

    def take(self) -> int:
        """The number of a cell that no process sees."""
        self.last += 1
        return self.last

    def given(self, number: object) -> None:
        """What the process has said of a cell."""
        if isinstance(number, int) and number > 0:
            self.last = self._process_last = number

    def told(self, cell: JupyterFrame) -> JupyterFrame:
        """The first cell after the process has missed some: with its number in it (docs/protocol.md §5)."""
        if self._process_last == self.last:
            return cell
        metadata = document(cell.metadata)
        ours = metadata.get("perijove")
        metadata["perijove"] = {**(ours if isinstance(ours, dict) else {}), "execution_count": self.last + 1}
        return dataclasses.replace(cell, metadata=packed(metadata))

    def process_ended(self) -> None:
        self._process_last = 0

    def restart(self) -> None:
        self.last = self._process_last = 0
