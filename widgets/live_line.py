"""One line of text under a cell (or in a terminal) that changes while something takes long, and then goes away.

Plain text and HTML with ``display_id`` updates: it works wherever outputs are shown, also where widgets do not.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from ..wire.html_text import html_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

T = TypeVar("T")
SHOW_AFTER_S = 1.0
UPDATE_EVERY_S = 0.5
BAR_CELLS = 24


class LiveLine:
    """Shows a text, replaces it, and takes it away again."""

    def __init__(self, shell: InteractiveShell, clearable: Callable[[], bool] = lambda: False) -> None:
        """``clearable`` says whether nothing else stands in the cell's output, so that clearing it loses nothing."""
        self._shell = shell
        self._clearable = clearable
        self._display_id = ""
        self._shown = ""
        self._in_notebook = getattr(shell, "kernel", None) is not None

    def show(self, text: str) -> None:
        if text == self._shown:
            return
        if self._in_notebook:
            self._publish(text)
        else:
            _write_over(text)
        self._shown = text

    def close(self, last_words: str = "") -> None:
        """Take the line away, or leave ``last_words`` in its place."""
        if not self._shown:
            return
        if not self._in_notebook:
            _write_over(last_words, end="\n" if last_words else "")
        elif last_words or not self._clearable():
            self._publish(last_words)
        else:
            publisher: Any = self._shell.display_pub
            publisher.clear_output(wait=True)
        self._shown = ""

    def _publish(self, text: str) -> None:
        publisher: Any = self._shell.display_pub
        update = bool(self._display_id)
        self._display_id = self._display_id or uuid.uuid4().hex
        style = "opacity: 0.7; font-size: 90%; font-variant-numeric: tabular-nums"
        publisher.publish(
            data={"text/plain": text, "text/html": f'<div style="{style}">{html_text(text)}</div>' if text else ""},
            metadata={"perijove": {"role": "progress"}},
            transient={"display_id": self._display_id},
            update=update,
        )


def _write_over(text: str, end: str = "") -> None:
    """In a terminal: in place of the line before; into a file only what is meant to stay.

    What is wider than the screen would wrap, and its upper rows could not be taken away again.
    """
    stream = sys.stderr
    if stream.isatty():
        # The terminal itself is asked: COLUMNS, which shutil would believe first, may be an older one's.
        columns = os.get_terminal_size(stream.fileno()).columns or 80
        stream.write(f"\r\x1b[K{text if len(text) < columns else text[: columns - 2] + '…'}{end}")
    elif end:
        stream.write(text + end)
    stream.flush()


class Progress:
    """What a notebook shows while its main thread waits: nothing for a second, then a live line."""

    def __init__(self, shell: InteractiveShell, clearable: Callable[[], bool]) -> None:
        self._shell = shell
        self._clearable = clearable
        self._meters: list[TransferMeter] = []

    def wait(self, future: Future[T], describe: Callable[[], str]) -> T:
        """The future's result; meanwhile, from the first second on, what ``describe`` says."""
        try:
            return future.result(SHOW_AFTER_S)
        except TimeoutError:
            if future.done():
                raise
        line = LiveLine(self._shell, self._clearable)
        try:
            while True:
                line.show(describe())
                try:
                    return future.result(UPDATE_EVERY_S)
                except TimeoutError:
                    if future.done():
                        raise
        finally:
            line.close()

    @contextlib.contextmanager
    def transfer(self, label: str, size_bytes: int) -> Iterator[TransferMeter]:
        """Count the bytes of a transfer (call the meter from any thread) and show them if it takes over a second."""
        meter = TransferMeter(label, size_bytes)
        self._meters.append(meter)
        try:
            yield meter
        finally:
            self._meters.remove(meter)
            if meter.line is not None:
                meter.line.close(meter.last_words())

    def tick(self) -> None:
        """Called now and then by a waiting main thread."""
        for meter in self._meters:
            meter.tick(self._shell)


class TransferMeter:
    """Counts bytes and describes the rate and the time left."""

    def __init__(self, label: str, size_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.label = label
        self.size_bytes = size_bytes
        self.moved_bytes = 0
        self.line: LiveLine | None = None
        self._clock = clock
        self._started = clock()
        self._shown_at = self._started

    def __call__(self, more_bytes: int) -> None:
        self.moved_bytes += more_bytes

    def tick(self, shell: InteractiveShell) -> None:
        now = self._clock()
        if now - self._started < SHOW_AFTER_S or now - self._shown_at < UPDATE_EVERY_S:
            return
        self._shown_at = now
        if self.line is None:
            self.line = LiveLine(shell)
        self.line.show(self.describe())

    def describe(self) -> str:
        elapsed_s = max(self._clock() - self._started, 1e-9)
        rate = self.moved_bytes / elapsed_s
        done = min(1.0, self.moved_bytes / self.size_bytes)
        bar = "█" * round(done * BAR_CELLS)
        left = f", {(self.size_bytes - self.moved_bytes) / rate:.0f} s left" if rate else ""
        return (
            f"{self.label} {bar:░<{BAR_CELLS}} {format_bytes(self.moved_bytes)} of {format_bytes(self.size_bytes)}, "
            f"{format_bytes(rate)}/s{left}"
        )

    def last_words(self) -> str:
        elapsed_s = max(self._clock() - self._started, 1e-9)
        return (
            f"{self.label}: {format_bytes(self.moved_bytes)} in {elapsed_s:.1f} s "
            f"({format_bytes(self.moved_bytes / elapsed_s)}/s)"
        )


def format_bytes(count: float) -> str:
    """Decimal units, three digits at most: ``512 B``, ``1.5 MB``, ``40 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
