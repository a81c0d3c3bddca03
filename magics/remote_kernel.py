"""A remote kernel as one notebook sees it: attach, run a cell and relay it, release.

The notebook's main thread runs cells and relays what comes; the client's thread keeps the link. One thread relays at a
time: mixing threads would reorder output.
"""

from __future__ import annotations

import builtins
import concurrent.futures
import getpass
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..client.channel import KernelChannel, Listener
from ..wire.errors import (
    AttachCancelled,
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
from . import inflow as events
from .cell_run import CellRun
from .comms import CommRelay
from .inflow import Inflow
from .interrupts import DeferredInterrupts
from .messages import Document, Message, make_frame, new_header, parse
from .parcel_link import described_buffers, get_large_buffers, large_bytes, put_large_buffers
from .remote_errors import remote_error
from .variables import VariableSync

if TYPE_CHECKING:
    from .cell_options import CellOptions
    from .notebook import Notebook

LATE_OUTPUT = {"stream", "display_data", "update_display_data", "clear_output", "error", "execute_result"}
STOP_WITHIN_S = 10.0
OUT_OF_REACH_S = 120.0
TICK_S = 0.25
ACK_AT_BYTES = 256 * 1024
SLICE_S = 0.05


class RemoteKernel:
    """One kernel of one notebook. Its methods are for the notebook's main thread unless they say otherwise."""

    def __init__(self, notebook: Notebook, name: str, spec: str) -> None:
        self.name = name
        self.spec = spec
        self.kernel_id = ""
        self.sync = VariableSync(notebook.shell, self._exchange)
        self.attach_s: float | None = None  # how long the last attach took; None when there was nothing to do
        self.last_run: CellRun | None = None
        self._notebook = notebook
        self._inflow = Inflow(notebook.wake_idle)
        self._interrupts = DeferredInterrupts(self._inflow.wake)
        self._comms = CommRelay(notebook.outputs, self)
        self._relaying = threading.RLock()
        self._channel: KernelChannel | None = None
        self._view: KernelView | None = None
        self._run: CellRun | None = None
        self._answers: dict[str, Message] = {}
        self._incarnation: str | None = None
        self._notices: list[str] = []
        self._disconnected_at: float | None = None
        self._failure: PerijoveError | None = None
        self._untaken_bytes = 0

    # state ----------------------------------------------------------------------------------------------------

    @property
    def view(self) -> KernelView | None:
        """The broker's latest word on this kernel; None before the first attach."""
        return self._channel.view if self._channel is not None else None

    @property
    def failed(self) -> bool:
        """The broker refuses this kernel for good: a new one is needed."""
        return self._failure is not None

    @property
    def listener(self) -> Listener:
        """Who hears what the channel receives."""
        return self._inflow

    # attach and release ---------------------------------------------------------------------------------------

    def attach(self) -> KernelView:
        """Have the GPU, waiting in the queue if need be; an interrupt leaves the queue.

        Raises:
            PerijoveError: why there is no GPU to have.
        """
        started, held = time.monotonic(), self.is_reachable()
        future = self._notebook.loop.submit(self._attach())
        try:
            self._notebook.progress.wait(future, self._attach_progress)
        except KeyboardInterrupt:
            future.cancel()
            raise AttachCancelled(f"stopped waiting for {self.spec}; nothing is held and nothing is billed") from None
        self.attach_s = None if held else time.monotonic() - started
        self._notebook.attached(self)
        self._drain()
        assert self._view is not None
        return self._view

    async def _attach(self) -> KernelView:
        if self._channel is None:
            self._channel = await self._notebook.open_channel(self)
        return await self._channel.attach()

    def _attach_progress(self) -> str:
        view = self.view
        if view is None:
            return "reaching the broker…"
        if view.state is KernelState.QUEUED:
            return view.queue_reason or f"waiting for {self.spec}…"
        if view.gpus is not None:
            return f"attaching {describe_gpus(view)} on {view.gpus.agent_name}…"
        return f"attaching {self.spec}…"

    def release(self, *, end: bool = False) -> None:
        """Give the GPU back now, keeping the variables where that is possible."""
        if self._channel is not None:
            self._wait(self._channel.release(end=end))
            self._drain()

    def restart(self) -> None:
        """A new process over there; the lease, if there is one, stays."""
        if self._channel is not None:
            self._wait(self._channel.restart())
            self._run = None
            self._drain()
            self._notices.clear()

    def interrupt(self) -> None:
        """Interrupt what runs over there. Any thread."""
        channel = self._channel
        if channel is None:
            return
        message_id = uuid.uuid4().hex
        header = new_header("interrupt_request", like={"msg_id": message_id, "session": message_id})
        metadata = {"perijove": {"shell_seq": channel.last_shell_seq}}
        self.send_frame(make_frame("control", header, {}, metadata=metadata), control=True)

    def goodbye(self, timeout_s: float) -> None:
        """The notebook ends: free the GPU at once."""
        if self._channel is not None and not self.failed:
            self._notebook.loop.submit(self._channel.goodbye()).result(timeout_s)

    def report_local_activity(self, busy: bool) -> None:
        """On the client's loop."""
        if self._channel is not None:
            self._channel.report_local_activity(busy)

    # a cell ---------------------------------------------------------------------------------------------------

    def run_cell(self, code: str, options: CellOptions) -> CellRun:
        """Run a cell over there as if it ran here: relays its output, brings its variables, raises its exception."""
        self.last_run = None
        self._wait_for_abandoned()
        while True:
            self.attach()
            with self._relaying:
                run = self._start(code, options)
                self._run = self.last_run = run
                try:
                    self._relay_run(run)
                finally:
                    if not run.abandoned:
                        self._run = None
                if run.lost and not run.heard_of:
                    continue  # the process went away before it had begun: begin anew with a new one
                self._finish(run, options)
                return run

    def _start(self, code: str, options: CellOptions) -> CellRun:
        parcel = self.sync.compose(
            code,
            names_in=options.names_in,
            names_out=options.names_out,
            keep=options.keep,
            transfer=options.transfer,
        )
        like = self._notebook.parent_header()
        run = CellRun(like["msg_id"], self._notebook.execution_count, time.monotonic(), options.timeout_s)
        run.notices, self._notices = self._notices, []
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": self._notebook.allows_stdin,
            "stop_on_error": False,
        }
        cell = {"execution_count": run.number, "manifest": parcel.manifest}
        self._send_parcel("execute_request", like, content, parcel, cell=cell)
        return run

    def _relay_run(self, run: CellRun) -> None:
        with self._interrupts.active():
            while not run.done:
                event = self._inflow.take(TICK_S)
                if event is not None:
                    self._dispatch(event)
                self._watch(run)
                if run.abandoned:
                    return

    def _watch(self, run: CellRun) -> None:
        """What passes with time: the stop button, time-outs, a link that stays down, a GPU released under us."""
        now = time.monotonic()
        if self._interrupts.take():
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
        if self._failure is not None:
            run.lost = run.heard_of = True
        elif self._disconnected_at is not None and now - self._disconnected_at > OUT_OF_REACH_S:
            run.abandoned = True

    def _finish(self, run: CellRun, options: CellOptions) -> None:
        if run.abandoned:
            raise self._abandoned_error(run)
        if run.lost:
            raise self._failure or KernelDied(self._death_sentence())
        try:
            if run.returned is not None:
                self._absorb(run.returned)
                run.notices.extend(self.sync.warnings)
        finally:
            # The cell's own failure is what the user must see first; ours comes up as its context.
            if run.timed_out:
                raise KernelBusy(f"the cell was interrupted after its --timeout of {run.timeout_s:g} s")
            if run.error is not None:
                raise remote_error(run.error)
        self._notebook.set_result(*self.sync.result())

    def _abandoned_error(self, run: CellRun) -> PerijoveError:
        view = self.view
        where = f"{describe_gpus(view)} on {view.gpus.agent_name}" if view and view.gpus else self.spec
        if self._disconnected_at is not None:
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
        self._drain()
        run = self._run
        if run is not None and run.abandoned:
            if not run.done:
                raise KernelBusy(
                    f"cell [{run.number}] still runs on {self.spec} and is billed; "
                    "`%gpu interrupt` tries again, `%gpu restart` ends it and its variables"
                )
            self._run = None
            if run.returned is not None:
                self._absorb(run.returned)

    def _death_sentence(self) -> str:
        view = self._view
        said = view.notice if view is not None and view.notice else "the remote kernel ended while the cell ran"
        self._notices.clear()
        return f"{said.rstrip('.')}; its variables are lost, and the next %%gpu cell starts a new one"

    # variables ------------------------------------------------------------------------------------------------

    def _absorb(self, message: Message) -> None:
        self.sync.absorb(self._received_parcel(message))

    def _exchange(self, question: Parcel) -> Parcel:
        """Ask the remote namespace something between cells. Never attaches: a fetched value must not start a bill."""
        if self._run is not None and not self._run.done:
            raise KernelBusy(f"cell [{self._run.number}] runs on {self.spec}; wait for it, or `%gpu interrupt`")
        if not self.is_reachable():
            raise KernelReleased(
                f"{self.spec} has been released, so the value cannot be reached now; "
                "run a %%gpu cell or `%gpu attach` first"
            )
        message_id = uuid.uuid4().hex
        like = {"msg_id": message_id, "session": message_id}
        self._send_parcel("perijove_exchange_request", like, {"manifest": question.manifest}, question)
        self.pump_while(lambda: message_id not in self._answers and self.is_reachable(), OUT_OF_REACH_S)
        answer = self._answers.pop(message_id, None)
        if answer is None:
            raise StateLost(f"the kernel on {self.spec} went away before it answered")
        if answer.content.get("status") == "error":
            raise ValueTransferError(str(answer.content.get("evalue", "the remote kernel could not answer")))
        return self._received_parcel(answer)

    def _send_parcel(
        self,
        msg_type: str,
        like: Document,
        content: Document,
        parcel: Parcel,
        *,
        channel: str = "shell",
        **perijove: Any,
    ) -> None:
        """Send a message with a parcel's buffers, the large ones ahead of it."""
        described: Sequence[Document]
        if size := large_bytes(parcel):
            with self._notebook.progress.transfer(f"to {self.spec}", size) as progress:
                described, inline = self._wait(put_large_buffers(self._live_channel, parcel, progress))
        else:
            described, inline = [{"inline": True} for _ in parcel.buffers], list(parcel.buffers)
        metadata = {"perijove": {**perijove, "buffers": described}}
        parent = like if channel == "stdin" else None
        header = new_header(msg_type, like=_fresh(like) if channel == "stdin" else like)
        self.send_frame(make_frame(channel, header, content, parent=parent, metadata=metadata, buffers=inline))

    def _received_parcel(self, message: Message) -> Parcel:
        described = described_buffers(message)
        size = sum(int(description.get("size", 0)) for description in described)
        if size:
            with self._notebook.progress.transfer(f"from {self.spec}", size) as progress:
                buffers = self._wait(get_large_buffers(self._live_channel, described, message.buffers, progress))
        else:
            buffers = [bytearray(buffer) for buffer in message.buffers]
        return Parcel(message.content.get("manifest", {}), buffers)

    # the relay ------------------------------------------------------------------------------------------------

    @property
    def _live_channel(self) -> KernelChannel:
        if self._channel is None:
            raise KernelReleased(f"nothing has run on {self.spec} yet; run a %%gpu cell first")
        return self._channel

    def is_reachable(self) -> bool:
        """Whether a message sent now would be handled without attaching a GPU. Any thread."""
        view = self.view
        return view is not None and view.state is KernelState.ATTACHED

    def send_frame(self, frame: bytes, *, control: bool = False) -> None:
        """Any thread; what cannot be sent because the process is gone is dropped: its loss is told elsewhere."""
        channel = self._live_channel

        def send() -> None:
            if channel.view is not None and channel.view.incarnation is not None:
                channel.send(frame, control=control)

        self._notebook.loop.call(send)

    def pump_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Relay while the condition holds, or wait for the thread that does. Any thread of the notebook."""
        deadline = time.monotonic() + timeout_s
        while condition() and time.monotonic() < deadline:
            if self._relaying.acquire(timeout=SLICE_S):
                try:
                    event = self._inflow.take(SLICE_S)
                    if event is not None:
                        self._dispatch(event)
                finally:
                    self._relaying.release()

    def pump_idle(self) -> None:
        """Relay what came while no cell runs. On the main thread, called from the notebook's own loop."""
        if self._relaying.acquire(blocking=False):
            try:
                self._drain()
            finally:
                self._relaying.release()

    def _drain(self) -> None:
        while (event := self._inflow.take(0)) is not None:
            self._dispatch(event)

    def _dispatch(self, event: events.Event) -> None:
        match event:
            case events.FrameArrived(frame, seq, size):
                try:
                    self._message(parse(frame))
                finally:
                    self._taken(seq, size)
            case events.StateChanged(view):
                self._view = view
                if view.gpus is not None:
                    self.sync.place = f"on {describe_gpus(view)} ({view.gpus.agent_name})"
                if view.notice and view.notice not in self._notices:
                    self._notices.append(view.notice)
                if view.state is KernelState.ATTACHED:
                    self._comms.resumed()
            case events.IncarnationChanged(view):
                self._view = view
                self._process_changed(view.incarnation)
            case events.Undelivered():
                if self._run is not None:
                    self._run.undelivered = True
            case events.ConnectionChanged(connected):
                self._connection_changed(connected)
            case events.MessagesLost(count):
                self._notices.append(f"{count} pieces of earlier output could not be kept and are missing")
            case events.ChannelFailed(error):
                self._failure = error

    def _process_changed(self, incarnation: str | None) -> None:
        if self._incarnation is not None:
            self.sync.forget()
            self._comms.remote_ended()
            if self._run is not None:
                self._run.lost = True
        self._incarnation = incarnation

    def _connection_changed(self, connected: bool) -> None:
        if not connected:
            self._disconnected_at = self._disconnected_at or time.monotonic()
        elif self._disconnected_at is not None:
            away_s = time.monotonic() - self._disconnected_at
            self._disconnected_at = None
            if self._run is not None:
                self._run.notices.append(f"the link to the broker was down for {away_s:.1f} s; nothing was lost")

    def _message(self, message: Message) -> None:
        run = self._run
        mine = run is not None and message.parent_id == run.message_id
        if message.channel == "stdin":
            self._stdin_message(message)
        elif message.type in ("comm_open", "comm_msg", "comm_close"):
            self._comms.relay(message)
        elif message.type == "create_subshell_reply":
            self._comms.subshell_created(message)
        elif message.type == "perijove_exchange_reply":
            self._answers[message.parent_id] = message
        elif mine and run is not None:
            if run.take(message):
                (self._notebook.outputs.publish_late if run.abandoned else self._notebook.outputs.publish)(message)
            if message.type == "execute_reply":
                self._notebook.take_payloads(message.content.get("payload") or [])
        elif message.type == "status":
            self._comms.status(message)
        elif message.channel == "iopub" and message.type in LATE_OUTPUT:
            self._notebook.outputs.publish_late(message)

    def _stdin_message(self, message: Message) -> None:
        if message.type == "input_request":
            self._ask_user(message)
        elif message.type == "perijove_question_request":
            question = self._received_parcel(message)
            try:
                answer, content = self.sync.answer(question), {"status": "ok"}
            except PerijoveError as error:
                answer, content = Parcel(), {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
            reply = {**content, "manifest": answer.manifest}
            self._send_parcel("perijove_question_reply", message.header, reply, answer, channel="stdin")

    def _ask_user(self, message: Message) -> None:
        ask = getpass.getpass if message.content.get("password") else builtins.input
        try:
            with self._interrupts.raised():
                value = ask(message.content.get("prompt", ""))
        except KeyboardInterrupt:
            self._interrupts.count += 1
            return
        except EOFError:
            value = "\x04"  # what ipykernel takes for end of input
        header = new_header("input_reply", like=_fresh(message.header))
        self.send_frame(make_frame("stdin", header, {"status": "ok", "value": value}, parent=message.header))

    def _taken(self, seq: int, size_bytes: int) -> None:
        channel = self._channel
        if channel is not None:
            channel.note_taken(seq)
            self._untaken_bytes += size_bytes
            if self._untaken_bytes >= ACK_AT_BYTES:
                self._untaken_bytes = 0
                self._notebook.loop.call(channel.acknowledge)

    def _wait(self, coroutine: Any) -> Any:
        """The result of something on the client's loop; an interrupt cancels it."""
        future: concurrent.futures.Future[Any] = self._notebook.loop.submit(coroutine)
        try:
            while True:
                try:
                    return future.result(TICK_S)
                except TimeoutError:
                    if future.done():
                        raise
                    self._notebook.progress.tick()
                    if self._interrupts.take():
                        raise KeyboardInterrupt from None
        except KeyboardInterrupt:
            future.cancel()
            raise


def describe_gpus(view: KernelView) -> str:
    """``H100``, ``2 × H100``, ``H100 (simulated)``."""
    if view.gpus is None:
        return view.gpu_spec
    count = f"{view.gpus.count} × " if view.gpus.count > 1 else ""
    return f"{count}{view.gpus.model}{' (simulated)' if view.gpus.simulated else ''}"


def _fresh(like: Document) -> Document:
    return {**like, "msg_id": uuid.uuid4().hex}
