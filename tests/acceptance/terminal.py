"""IPython and its relatives in a terminal as a person sees them: a real pty, keys that are pressed, what is shown."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

ENTER = "\r"
RUN = "\x1b\r"  # Escape, Enter: run what has been typed, wherever the cursor is
TAB = "\t"
CONTROL_C = "\x03"
CONTROL_D = "\x04"

# The pty's slave end becomes the controlling terminal, so that Control-C is a signal. (Not by forking this process with
# a pty, of which Python warns where there are threads.)
START = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
"""
IPYTHON = ("IPython", "--no-banner", "--colors=NoColor", "--no-confirm-exit")


class _Screen(pyte.Screen):
    """Answers programs that ask where the cursor is, as a terminal does."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self.answers: list[str] = []

    def write_process_input(self, data: str) -> None:
        self.answers.append(data)


class Terminal:
    """IPython in a terminal, or another program with its prompts; a context manager that ends it."""

    def __init__(
        self,
        environment: dict[str, str],
        directory: Path,
        *,
        program: Sequence[str] = IPYTHON,
        columns: int = 160,
        rows: int = 90,
        ready: str = "In [1]:",
    ) -> None:
        self._program = program  # a module and its arguments
        self._ready = ready  # what it shows once it can be used
        self._screen = _Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # A terminal's size is the terminal's: what the test runner says of its own is not passed on.
        kept = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        self._environment = kept | {"TERM": "xterm"}
        self._directory = directory
        self._pty = -1
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self._pty, end = pty.openpty()
        fcntl.ioctl(self._pty, termios.TIOCSWINSZ, struct.pack("HHHH", self._screen.lines, self._screen.columns, 0, 0))
        command = [sys.executable, "-c", START, *self._program]
        self._process = subprocess.Popen(
            command,
            stdin=end,
            stdout=end,
            stderr=end,
            env=self._environment,
            cwd=self._directory,
            start_new_session=True,
        )
        os.close(end)
        try:
            self.wait_for(self._ready)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()  # which frees the GPU at once, as exit does
        self._process.wait(15)
        os.close(self._pty)

    @property
    def text(self) -> str:
        """The screen, without the blank ends of its lines."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def press(self, keys: str) -> None:
        os.write(self._pty, keys.encode())

    def wait_for(self, text: str, within_s: float = 60.0) -> str:
        """Wait until the screen shows a text; returns the screen."""
        assert self.shows(text, within_s), f"{text!r} did not appear; the screen shows:\n{self.text}"
        return self.text

    def shows(self, text: str, within_s: float) -> bool:
        """Whether the screen shows a text within so many seconds."""
        deadline = time.monotonic() + within_s
        while text not in self.text:
            if time.monotonic() >= deadline:
                return False
            self._read()
        return True

    def run(self, number: int, code: str) -> str:
        """Type and run a cell, and wait for the next prompt; returns what stands between the two."""
        self.type(number, code)
        return self.result(number)

    def type(self, number: int, code: str) -> None:
        """Type a cell, which is to get this number, and run it."""
        self.wait_for(f"In [{number}]:")
        self.press("\x1b[200~" + code + "\x1b[201~")  # pasted: typed lines would be indented
        self.wait_for(code.splitlines()[-1])
        self.press(RUN)

    def result(self, number: int) -> str:
        shown = self.wait_for(f"In [{number + 1}]:")
        after = shown.split(f"In [{number}]:", 1)[1]
        return after.split(f"In [{number + 1}]:", 1)[0].rstrip()

    def wait_for_end(self, within_s: float = 15.0) -> int:
        """Wait until the program has ended; its exit status."""
        deadline = time.monotonic() + within_s
        while (status := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"it does not end; the screen shows:\n{self.text}"
            self._read()
        return status

    def _read(self) -> None:
        if not select.select([self._pty], [], [], 0.1)[0]:
            return
        try:
            written = os.read(self._pty, 65536)
        except OSError:  # how Linux says that nobody has the other end open any more
            self._process.wait()
            return
        self._stream.feed(self._decoder.decode(written))
        answers, self._screen.answers = self._screen.answers, []
        for answer in answers:
            self.press(answer)
