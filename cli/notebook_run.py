"""``perijove run``'s work: a notebook through the GPU kernel, headless.

The kernel is started as any front-end would start it, from its kernelspec's command, but none has to be installed.
Whatever ends the run, the notebook on disk has all outputs until then, and the GPU is freed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.client import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.notebooknode import NotebookNode

from .. import __version__
from ..client.notebook_name import NOTEBOOK_VARIABLE
from ..wire.errors import KernelError, PerijoveError
from .notebook_file import code_cells, is_code, write_notebook
from .run_progress import RunProgress
from .run_watch import RunWatch, cost_metadata, utc_text

INTERRUPT_WITHIN_S = 10.0  # a cell that does not heed an interrupt until then is left
IDLE_WITHIN_S = 600  # after a cell's reply: how long its last outputs may take to arrive
REFRESH_EVERY_S = 0.25
_EXPECTED = (CellExecutionError, CellTimeoutError, DeadKernelError, PerijoveError, RuntimeError)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Status(StrEnum):
    RUNNING = "running"  # as long as it runs; for ever, if the machine went down meanwhile
    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Run:
    """What to run. ``output`` is written after every cell; ``gpu`` is what was asked for, for the record."""

    notebook: NotebookNode
    output: Path
    directory: Path  # where the kernel is started
    kernelspec: Mapping[str, Any]
    path: Path  # of the notebook that is run, for the bill
    kernel_name: str  # at the broker
    gpu: str
    allow_errors: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. ``failed_cell`` counts code cells from 1; ``cost`` is the notebook's ``metadata.perijove``."""

    status: Status
    cost: Mapping[str, Any]
    failed_cell: int = 0  # 0: it came to none
    error: BaseException | None = None
    signal: int | None = None
    cost_error: PerijoveError | None = None


class NotebookRunner:
    """Runs one notebook, once."""

    def __init__(self, run: Run, watch: RunWatch, progress: RunProgress) -> None:
        self._run = run
        self._watch = watch
        self._progress = progress
        self._manager = AsyncKernelManager(kernel_name=run.kernel_name, kernel_spec_manager=_OneSpec(run.kernelspec))
        self._client = StreamJoiningClient(
            run.notebook,
            km=self._manager,
            allow_errors=run.allow_errors,
            timeout=None,
            iopub_timeout=IDLE_WITHIN_S,
            raise_on_iopub_timeout=True,
        )
        self._started = datetime.now(UTC)
        self._number = 0
        self._in_cell = False
        self._signal: int | None = None
        self._interrupt: asyncio.Task[None] | None = None

    async def run(self) -> Ending:
        """All cells, or those until something ends it. SIGINT, SIGTERM and SIGHUP interrupt the running cell."""
        self._note({"status": Status.RUNNING.value})
        write_notebook(self._run.notebook, self._run.output)  # before anything costs money
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._work())
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup's wish
        for number in heard:
            loop.add_signal_handler(number, self._stop, number, work)
        followers = [asyncio.create_task(self._watch.follow()), asyncio.create_task(self._refresh())]
        try:
            await asyncio.wait([work])
            await self._watch.look()
        finally:
            await _cancelled(*followers)
            await self._end_kernel()
        error = None if work.cancelled() else work.exception()
        ending = await self._ending(error)
        for number in heard:
            loop.remove_signal_handler(number)
        return ending

    # the cells ----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        environment = {**os.environ, "PERIJOVE_STATUS": "0", "PERIJOVE_KERNEL_NAME": self._run.kernel_name}
        environment[NOTEBOOK_VARIABLE] = str(self._run.path)
        await self._manager.start_kernel(cwd=str(self._run.directory), env=environment)
        kernel = await self._client.async_start_new_kernel_client()
        info = await self._client.async_wait_for_reply(kernel.kernel_info())
        if info is not None:
            self._run.notebook.metadata["language_info"] = info["content"]["language_info"]
        for index, cell in enumerate(self._run.notebook.cells):
            if not is_code(cell) or self._signal is not None:
                continue
            self._number += 1
            self._progress.cell_begins()
            self._in_cell = True
            try:
                await self._client.async_execute_cell(cell, index)
            finally:
                self._in_cell = False
                self._client.join_streams()
            self._progress.cell_ended()
            write_notebook(self._run.notebook, self._run.output)

    def _stop(self, number: int, work: asyncio.Task[None]) -> None:
        """A signal. The first interrupts the running cell, so that its outputs and its error are kept."""
        if self._signal is not None or not self._in_cell:
            self._signal = number
            work.cancel()
            return
        self._signal = number
        self._interrupt = asyncio.create_task(self._interrupt_cell(work))

    async def _interrupt_cell(self, work: asyncio.Task[None]) -> None:
        await self._manager.interrupt_kernel()
        done, _ = await asyncio.wait([work], timeout=INTERRUPT_WITHIN_S)
        if not done:
            work.cancel()

    async def _refresh(self) -> None:
        while True:
            self._progress.refresh()
            await asyncio.sleep(REFRESH_EVERY_S)

    # the end ------------------------------------------------------------------------------------------------------

    async def _end_kernel(self) -> None:
        """Ends the kernel as a front-end does, which frees its GPU at once."""
        await _cancelled(self._interrupt)
        if self._client.kc is not None:
            self._client.kc.stop_channels()
        with contextlib.suppress(RuntimeError):  # it never started
            await self._manager.shutdown_kernel()
        await self._manager.cleanup_resources()

    async def _ending(self, error: BaseException | None) -> Ending:
        if error is not None and not isinstance(error, _EXPECTED):
            raise error
        status = Status.OK if error is None else Status.ERROR
        if self._signal is not None:
            status = Status.INTERRUPTED
        cost, cost_error = await self._cost()
        with contextlib.suppress(Exception):  # a widget that cannot be described is no reason to lose the rest
            self._client.set_widgets_metadata()
        self._note({"finished_at": utc_text(datetime.now(UTC)), "status": status.value, **cost})
        write_notebook(self._run.notebook, self._run.output)
        if isinstance(error, DeadKernelError):
            error = KernelError("the GPU kernel's own process ended; what it said last is above")
        failed = self._number if status is not Status.OK else 0
        return Ending(status, self._run.notebook.metadata["perijove"], failed, error, self._signal, cost_error)

    async def _cost(self) -> tuple[dict[str, Any], PerijoveError | None]:
        try:
            return cost_metadata(await self._watch.bill(self._started)), None
        except PerijoveError as error:
            return {"cost_nanodollars": None, "currency": "USD"}, error
        finally:
            await self._watch.close()

    def _note(self, facts: Mapping[str, Any]) -> None:
        """Writes down in the notebook what is known about this run."""
        known = {"version": __version__, "asked": self._run.gpu, "started_at": utc_text(self._started), **facts}
        self._run.notebook.metadata["perijove"] = NotebookNode(known)


async def _cancelled(*tasks: asyncio.Task[None] | None) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


class _OneSpec(KernelSpecManager):
    """Knows one kernelspec, which is installed nowhere."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__()
        self._document = dict(document)

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**self._document)


class StreamJoiningClient(NotebookClient):
    """Joins what follows each other on one stream, as front-ends do; its own way moves text past displays."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._last_stream: NotebookNode | None = None
        self._texts: list[str] = []

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        before = outs[-1] if outs else None
        out = super().output(outs, msg, display_id, cell_index)
        if out is None or out.output_type != "stream":
            return out
        stream = self._last_stream
        if stream is before and stream is not None and len(outs) > 1 and stream.name == out.name:
            outs.pop()
            self._texts.append(out.text)
            return stream
        self.join_streams()
        self._last_stream, self._texts = out, [out.text]
        return out

    def join_streams(self) -> None:
        """Now, and not at each message, which would take time in the square of their number."""
        if self._last_stream is not None:
            self._last_stream.text = "".join(self._texts)
            self._last_stream = None


def cell_traceback(notebook: NotebookNode, number: int) -> str:
    """What a front-end would show of the error in the code cell of this number."""
    for output in reversed(code_cells(notebook)[number - 1].outputs):
        if output.output_type == "error":
            return "\n".join(output.traceback)
    return ""


def error_text(error: BaseException | None) -> str:
    """``ZeroDivisionError: division by zero``, in one line."""
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {error.evalue}".partition("\n")[0]
    return str(error or "").partition("\n")[0]
