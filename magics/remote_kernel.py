"""A remote kernel as one notebook sees it: attach, run a cell, release.

A cell runs on the notebook's main thread, which relays what comes; the client's thread keeps the link.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from ..wire.commands.budget import left_text, used_up_text
from ..wire.commands.describing import describe_gpus
from ..wire.errors import (
    AttachCancelled,
    BudgetExhausted,
    CellTimeout,
    ConnectionLost,
    KernelBusy,
    KernelDied,
    KernelReleased,
    PerijoveError,
    StateLost,
    ValueTransferError,
)
from ..wire.models import KernelState, KernelView
from ..wire.values.parcel import Parcel
from .cell_panel import CellPanel
from .cell_run import CellRun
from .kernel_link import TICK_S, KernelLink
from .relay import Relay
from .remote_errors import remote_error
from .variables import VariableSync

if TYPE_CHECKING:
    from ..widgets.notebook_panel import NotebookPanel
    from ..wire.commands.tables import Table
    from .cell_options import CellOptions
    from .cell_panel import StatusWithPanel
    from .notebook import Notebook

STOP_WITHIN_S = 10.0
OUT_OF_REACH_S = 120.0
RELEASED_WITHIN_S = 5.0


class RemoteKernel:
    """One kernel of one notebook. Its methods are for the notebook's main thread unless they say otherwise."""

    def __init__(self, notebook: Notebook, name: str, spec: str) -> None:
        self.name = name
        self.spec = spec
        self.sync = VariableSync(notebook.shell, self._exchange)
        self.attach_s: float | None = None  # how long the last attach took; None when there was nothing to do
        self.last_run: CellRun | None = None
        self._notebook = notebook
        self._link = KernelLink(notebook, spec)
        self._relay = Relay(notebook, self._link, self.sync)
        self._panel = CellPanel(notebook.shell, notebook.outputs, self._make_panel)

    @property
    def view(self) -> KernelView | None:
        """The broker's latest word on this kernel; None before the first attach."""
        return self._link.view

    @property
    def view_age_s(self) -> float:
        """How long ago the broker said that, in seconds."""
        return self._link.view_age_s

    @property
    def budget_left(self) -> str:
        """For people, as of now; empty where there is no budget."""
        return left_text(self.view, self.view_age_s) if self.view is not None else ""

    @property
    def failed(self) -> bool:
        """The broker refuses this kernel for good: a new one is needed."""
        return self._relay.failure is not None

    # attach and release ---------------------------------------------------------------------------------------

    def attach(self) -> KernelView:
        """Have the GPU, waiting in the queue if need be; an interrupt leaves the queue.

        Raises:
            PerijoveError: why there is no GPU to have.
        """
        started, held = time.monotonic(), self._link.is_reachable()
        if not self._link.is_attached:  # else not even a detour through the client's thread
            self._ask_for_gpu()
        self.attach_s = None if held else time.monotonic() - started
        self._notebook.attached(self)
        self._relay.drain()
        assert self.view is not None
        return self.view

    def _ask_for_gpu(self) -> None:
        future = self._notebook.loop.submit(self._link.attach())
        try:
            self._notebook.progress.wait(future, self._attach_progress)
        except KeyboardInterrupt:
            future.cancel()
            raise AttachCancelled(f"stopped waiting for {self.spec}; nothing is held and nothing is billed") from None

    def set_budget(self, nanodollars: int | None) -> None:
        """What this kernel may cost altogether, from now on; None: no limit."""
        if self.view is not None and self.view.budget_nanodollars == nanodollars:
            return
        future = self._notebook.loop.submit(self._link.set_budget(nanodollars))
        try:
            self._notebook.progress.wait(future, lambda: "reaching the broker…")
        except KeyboardInterrupt:
            future.cancel()
            raise
        self._relay.drain()

    def _attach_progress(self) -> str:
        view = self.view
        if view is None:
            return "reaching the broker…"
        self._panel.cell_goes_on()
        if view.state is KernelState.QUEUED:
            return view.queue_reason or f"waiting for {self.spec}…"
        if view.gpus is not None:
            return f"attaching {describe_gpus(view)} on {view.gpus.agent_name}…"
        return f"attaching {self.spec}…"

    def show_panel(self) -> None:
        """Show what the GPU does and costs, live, in the output of the running cell.

        Raises:
            UsageError: in a terminal.
        """
        self._panel.show()

    def status_with_panel(self, table: Table) -> StatusWithPanel:
        """A table of its state that has the panel beside it, where that can be seen."""
        return self._panel.beside(table)

    def _make_panel(self) -> NotebookPanel:
        from ..widgets.notebook_panel import NotebookPanel  # quick cells do without

        panel = NotebookPanel(self._notebook.outputs.kernel, self.name, self._notebook.loop, self._link.fulfil)
        self._link.watch(panel)
        return panel

    def keep(self, seconds: int) -> None:
        """Hold the GPU so much longer than idleness would."""
        self._link.wait(self._link.channel.keep(seconds))
        self._relay.drain()

    def release(self, *, end: bool = False) -> None:
        """Give the GPU back now, keeping the variables where that is possible."""
        if self._link.is_open:
            self._link.wait(self._link.channel.release(end=end))
            self._relay.drain()

    def restart(self) -> None:
        """A new process over there; the lease, if there is one, stays."""
        if self._link.is_open:
            self._link.wait(self._link.channel.restart())
            self._relay.run = None
            self._relay.drain()
            self._relay.forget_news()

    def interrupt(self) -> None:
        """Interrupt what runs over there. Any thread."""
        self._link.send_interrupt()

    def goodbye(self, timeout_s: float) -> None:
        """The notebook ends: free the GPU at once."""
        if self._link.is_open and not self.failed:
            self._notebook.loop.submit(self._link.channel.goodbye()).result(timeout_s)

    def report_local_activity(self, busy: bool) -> None:
        """On the client's loop."""
        if self._link.is_open:
            self._link.channel.report_local_activity(busy)

    def pump_idle(self) -> None:
        """Relay what came while no cell ran."""
        self._relay.pump_idle()

    # a cell ---------------------------------------------------------------------------------------------------

    def run_cell(self, code: str, options: CellOptions) -> CellRun:
        """Run a cell over there as if it ran here: relays its output, brings its variables, raises its exception."""
        self._panel.cell_begins(wanted=not options.quiet and self._notebook.is_watched)
        try:
            return self._run_cell(code, options)
        finally:
            self._panel.cell_ends()

    def _run_cell(self, code: str, options: CellOptions) -> CellRun:
        self.last_run = None
        self._wait_for_abandoned()
        if options.budget_nanodollars is not None:
            self.set_budget(options.budget_nanodollars)
        while True:
            self.attach()
            with self._relay.turn:
                run = self._start(code, options)
                self._panel.cell_runs()
                self._relay.run = self.last_run = run
                try:
                    self._relay_run(run)
                finally:
                    if not run.abandoned:
                        self._relay.run = None
                if run.lost and not run.heard_of:
                    continue  # the process went away before it had begun: begin anew with a new one
                self._finish(run)
                return run

    def _start(self, code: str, options: CellOptions) -> CellRun:
        for sentence in self._relay.take_news():
            self._notebook.outputs.notice(sentence)
        parcel = self.sync.compose(
            code,
            names_in=options.names_in,
            names_out=options.names_out,
            keep=options.keep,
            transfer=options.transfer,
        )
        like = self._notebook.parent_header()
        run = CellRun(like["msg_id"], self._notebook.execution_count, time.monotonic(), options.timeout_s)
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": self._notebook.allows_stdin,
            "stop_on_error": False,
        }
        cell = {"execution_count": run.number, "manifest": parcel.manifest}
        self._link.send_parcel("execute_request", like, content, parcel, cell=cell)
        return run

    def _relay_run(self, run: CellRun) -> None:
        with self._link.interrupts.active():
            while not run.done and not run.abandoned:
                self._relay.take_one(TICK_S)
                self._watch(run)
                self._panel.cell_goes_on()

    def _watch(self, run: CellRun) -> None:
        """What passes with time: the stop button, time-outs, a link that stays down, a GPU released under us."""
        now = time.monotonic()
        if self._link.interrupts.take():
            if run.interrupted_at is not None:
                run.abandoned = True
            else:
                run.interrupted_at = now
                self.interrupt()
        elif run.interrupted_at is not None and now - run.interrupted_at > STOP_WITHIN_S:
            run.abandoned = True
        if run.timeout_s is not None and not run.timed_out and now - run.started_at > run.timeout_s:
            run.timed_out = True
            run.interrupted_at = run.interrupted_at or now
            self.interrupt()
        if run.undelivered and not run.lost:
            run.undelivered = False
            self.attach()
        away_since = self._relay.disconnected_at
        if self._relay.failure is not None:
            run.lost = run.heard_of = True
        elif away_since is not None and now - away_since > OUT_OF_REACH_S:
            run.abandoned = True

    def _finish(self, run: CellRun) -> None:
        if run.abandoned:
            raise self._abandoned_error(run)
        if run.stopping == "budget":
            self._relay.pump_while(self._link.is_reachable, RELEASED_WITHIN_S)
        if run.lost and run.stopping == "budget":
            raise self._out_of_budget()
        if run.lost:
            raise self._relay.failure or KernelDied(
                f"{self._relay.death_sentence().rstrip('.')}; its variables are lost, "
                "and the next %%gpu cell starts a new one"
            )
        try:
            self._absorb(run)
        finally:
            # The cell's own failure is what the user must see first; ours comes up as its context.
            if run.timed_out:
                raise CellTimeout(f"the cell was interrupted after its --timeout of {run.timeout_s:g} s")
            if run.error is not None and run.stopping == "budget":
                raise self._out_of_budget()
            if run.error is not None:
                raise remote_error(run.error, shown=run.error_shown)
        if run.stopping == "budget" and self.view is not None:  # it was over before it could be stopped
            self._notebook.outputs.notice(used_up_text(self.view, stopped=False))
        if run.display_error is not None:
            self._notebook.note_display_error(run.display_error)
        self._notebook.set_result(*self.sync.result())

    def _out_of_budget(self) -> BudgetExhausted:
        assert self.view is not None
        if self.view.notice:
            self._relay.death_sentence()  # this error tells of the loss, too
        return BudgetExhausted(used_up_text(self.view, stopped=True))

    def _absorb(self, run: CellRun) -> None:
        if run.returned is not None:
            self.sync.absorb(self._link.received_parcel(run.returned))
            run.notices.extend(self.sync.warnings)

    def _abandoned_error(self, run: CellRun) -> PerijoveError:
        view = self.view
        where = f"{describe_gpus(view)} on {view.gpus.agent_name}" if view and view.gpus else self.spec
        if self._relay.disconnected_at is not None:
            return ConnectionLost(
                f"the broker has been out of reach for {OUT_OF_REACH_S / 60:.0f} min; cell [{run.number}] goes on "
                f"over there ({where}) as far as its allowance goes, and is billed; `%gpu` tells when the link is back"
            )
        return KernelBusy(
            f"cell [{run.number}] did not stop; it still runs on {where} and is billed. "
            "`%gpu interrupt` tries again, `%gpu restart` ends it and its variables"
        )

    def _wait_for_abandoned(self) -> None:
        """An earlier cell that would not stop has to be over before the next one runs."""
        self._relay.drain()
        run = self._relay.run
        if run is None or not run.abandoned:
            return
        if not run.done:
            raise KernelBusy(
                f"cell [{run.number}] still runs on {self.spec} and is billed; "
                "`%gpu interrupt` tries again, `%gpu restart` ends it and its variables"
            )
        self._relay.run = None
        self._absorb(run)

    # between cells --------------------------------------------------------------------------------------------

    def _exchange(self, question: Parcel) -> Parcel:
        """Ask the remote namespace something between cells. Never attaches: a fetched value must not start a bill."""
        run = self._relay.run
        if run is not None and not run.done:
            raise KernelBusy(f"cell [{run.number}] runs on {self.spec}; wait for it, or `%gpu interrupt`")
        if not self._link.is_reachable():
            raise KernelReleased(
                f"{self.spec} has been released, so the value cannot be reached now; "
                "run a %%gpu cell or `%gpu attach` first"
            )
        message_id = uuid.uuid4().hex
        like = {"msg_id": message_id, "session": message_id}
        self._link.send_parcel("perijove_exchange_request", like, {"manifest": question.manifest}, question)
        answers = self._relay.answers
        self._relay.pump_while(lambda: message_id not in answers and self._link.is_reachable(), OUT_OF_REACH_S)
        answer = answers.pop(message_id, None)
        if answer is None:
            raise StateLost(f"the kernel on {self.spec} went away before it answered")
        if answer.content.get("status") == "error":
            raise ValueTransferError(str(answer.content.get("evalue", "the remote kernel could not answer")))
        return self._link.received_parcel(answer)
