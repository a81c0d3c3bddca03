"""A notebook and a kernel in two interpreters: ``notebook.gpu(cell)`` is a ``%%gpu`` cell, ``local(cell)`` is not."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from perijove.magics.variables import VariableSync
from perijove.wire.errors import from_code
from perijove.wire.values.parcel import Parcel
from traitlets.config import Config

_SCRIPT = Path(__file__).with_name("kernel_process.py")
_ROOT = Path(__file__).parents[3]


def _load_script() -> Any:
    spec = importlib.util.spec_from_file_location("perijove_test_kernel_process", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kernel_process = _load_script()


class CellFailed(Exception):
    """The remote cell raised; the text is ``Type: message``."""


class Notebook:
    """One local shell, one kernel process, and the variables between them."""

    def __init__(self, folder: Path, **sync_options: Any) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        self.shell = InteractiveShell(config=config)
        self.folder = folder
        self.printed = ""
        self.seconds = {"begin": 0.0, "finish": 0.0}
        self.while_running: Callable[[], None] = lambda: None
        self.sync = VariableSync(self.shell, self._exchange, **sync_options)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        env = os.environ | {"PYTHONPATH": str(_ROOT / ".editable"), "IPYTHONDIR": str(self.folder / "ipython")}
        self.process = subprocess.Popen(
            [sys.executable, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.folder, env=env
        )

    def stop(self) -> None:
        process = self.process
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait(20)
            process.stdout.close()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()
        self.sync.forget()

    @property
    def ns(self) -> dict[str, Any]:
        return self.shell.user_ns

    def local(self, cell: str) -> Any:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            result = self.shell.run_cell(cell)
        self.printed = printed.getvalue()
        result.raise_error()
        return result.result

    def gpu(self, cell: str, **options: Any) -> Any:
        """Run a ``%%gpu`` cell: its last expression's value, or ``CellFailed``. Transfer errors raise as they are."""
        self._call("begin", self.sync.compose(cell, **options))
        outcome, _ = self._call("run", cell=cell)
        self.printed = outcome["printed"]
        _, returned = self._call("finish")
        self.sync.absorb(returned)
        if outcome["failure"] is not None:
            raise CellFailed(outcome["failure"])
        has_result, value = self.sync.result()
        if has_result:
            self.shell.displayhook.update_user_ns(value)
            self.shell.execution_count += 1
        return value

    def remote(self, expression: str) -> str:
        """What the kernel itself prints for an expression, with no variable travelling either way."""
        self._call("begin", self.sync.compose("", transfer=False))
        outcome, _ = self._call("run", cell=f"print({expression})")
        self._call("finish")
        assert outcome["failure"] is None, outcome["failure"]
        return str(outcome["printed"]).strip()

    def _exchange(self, question: Parcel) -> Parcel:
        return self._call("exchange", question)[1]

    def _call(self, do: str, parcel: Parcel | None = None, **message: Any) -> tuple[dict[str, Any], Parcel]:
        assert self.process is not None
        kernel_process.send(self.process.stdin, {"do": do, **message}, parcel)
        if do == "run":
            self.while_running()
        while True:
            reply, received = kernel_process.receive(self.process.stdout)
            if not reply.get("ask"):
                break
            kernel_process.send(self.process.stdin, {}, self.sync.answer(received))
        self.seconds[do] = reply["seconds"]
        if "error" in reply:
            raise from_code(reply["error"], reply["text"])
        return reply, received


@pytest.fixture
def open_notebook(tmp_path: Path) -> Iterator[Callable[..., Notebook]]:
    opened: list[Notebook] = []
    main = sys.modules["__main__"]

    def open_one(**sync_options: Any) -> Notebook:
        notebook = Notebook(tmp_path, **sync_options)
        opened.append(notebook)
        return notebook

    yield open_one
    for notebook in opened:
        notebook.stop()
    sys.modules["__main__"] = main


@pytest.fixture
def notebook(open_notebook: Callable[..., Notebook]) -> Notebook:
    return open_notebook()
