"""ipykernel's kernel, taught three things: to be bound to a GPU, to run ``%%gpu`` cells, and to ask the notebook.

Everything else is stock: what a cell sees is what it sees at home. See docs/protocol.md §5 for the messages.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel

from ...wire.errors import KernelReleased, PerijoveError, UsageError
from ...wire.values.parcel import Parcel
from .comms import hear_during_cells
from .environment import BLOB_DIR
from .gpu_magics import GpuMagics, HeldGpu
from .large_buffers import LargeBuffers

if TYPE_CHECKING:
    from .namespace import RemoteNamespace

_QUESTION_POLL_MS = 50
_MOST_PADDED = 100_000  # cells that ran elsewhere
_OUTPUT_AHEAD_S = 0.0005  # ipykernel's ``_execute_sleep``


class RemoteKernel(IPythonKernel):  # type: ignore[misc]  # ipykernel is not typed
    """Made by :class:`~.kernel_app.RemoteKernelApp`."""

    has_gpu_magics = True  # ``%load_ext perijove`` has nothing to add

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.control_handlers["perijove_bind_request"] = self.perijove_bind_request
        self.shell_handlers["perijove_exchange_request"] = self.perijove_exchange_request
        blob_dir = os.environ.pop(BLOB_DIR, "")
        self._large_buffers = LargeBuffers(Path(blob_dir) if blob_dir else None)
        self._stdin_lock = threading.Lock()
        self._execute_sleep = 0.0  # see finish_metadata
        self._namespace: RemoteNamespace | None = None
        self._main_is_blocked = False  # by a cell that awaits nothing
        self.held_gpus: tuple[HeldGpu, ...] = ()
        self._gpu_magics = GpuMagics(self)
        hear_during_cells(lambda: self._main_is_blocked)

    @property
    def namespace(self) -> RemoteNamespace:
        """Made when the first ``%%gpu`` cell comes, so that a kernel used without the magic is a plain one."""
        if self._namespace is None:
            from .namespace import RemoteNamespace  # not needed to start

            self._namespace = RemoteNamespace(self.shell, self.ask)
        return self._namespace

    # bind -------------------------------------------------------------------------------------------------------

    async def perijove_bind_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Work for a kernel, on these devices, in its directory. Runs in the control thread, whatever a cell does."""
        content = {"status": "ok"}
        try:
            request = parent["content"]
            for name, value in request["environment"].items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            if directory := request.get("directory"):
                os.chdir(directory)
            if session := request.get("session"):
                self.session.session = session
            self.held_gpus = tuple(HeldGpu(gpu["model"], gpu["memory_bytes"]) for gpu in request.get("gpus", []))
        except (OSError, KeyError, ValueError) as error:
            content = {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
        self.session.send(stream, "perijove_bind_reply", content, parent, ident)

    # cells ------------------------------------------------------------------------------------------------------

    async def execute_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """The notebook counts the cells; its number is taken over before anything shows one."""
        count = _ours(parent).get("execution_count", _cell(parent).get("execution_count"))
        if isinstance(count, int) and count > 0:
            self.shell.execution_count = count
            _pad_history(self.shell.history_manager, count)
        await super().execute_request(stream, ident, parent)

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> dict[str, Any]:
        """Run a cell; one with ``metadata.perijove.cell`` between its variables' arrival and departure."""
        parent = self.get_parent("shell")
        cell = _cell(parent)

        async def run() -> dict[str, Any]:
            self._main_is_blocked = True
            try:
                reply: dict[str, Any] = await super(RemoteKernel, self).do_execute(
                    code, silent, store_history, user_expressions, allow_stdin, cell_meta=cell_meta, cell_id=cell_id
                )
            finally:
                self._main_is_blocked = False
            return reply

        if not cell:
            try:
                self._gpu_magics.check(code)
            except (PerijoveError, KeyboardInterrupt) as error:
                return self._cell_not_run(error, store_history)
            reply = await run()
            self.iopub_thread.catch_up()
            return reply
        try:
            self.namespace.begin(self._received_parcel(parent, cell.get("manifest", {})))
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is the cell's error
            return self._cell_not_run(error, store_history)
        started_ns = time.perf_counter_ns()
        reply = await run()
        ran_ms = (time.perf_counter_ns() - started_ns) // 1_000_000
        try:
            self._publish_result(self.namespace.finish(), ran_ms, parent)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
            if reply["status"] == "ok":
                return self._error_of_cell(error)
            print(f"perijove: the variables of this cell did not come back: {error}", file=sys.stderr)
        return reply

    def finish_metadata(
        self, parent: dict[str, Any], metadata: dict[str, Any], reply_content: dict[str, Any]
    ) -> dict[str, Any]:
        """The last step before a cell's reply: let its output get ahead, as long as ipykernel sleeps for that.

        Here it is known when the output is taken, which is sooner. ``%%gpu`` waits for the idle anyway.
        """
        if not _cell(parent):
            self.iopub_thread.gate.wait_until_taken(_OUTPUT_AHEAD_S)
        finished: dict[str, Any] = super().finish_metadata(parent, metadata, reply_content)
        return finished

    def _publish_execute_input(self, code: str, parent: dict[str, Any], execution_count: int) -> None:
        """The notebook has shown a ``%%gpu`` cell's input itself."""
        if not _cell(parent):
            super()._publish_execute_input(code, parent, execution_count)

    def _received_parcel(self, message: dict[str, Any], manifest: dict[str, Any]) -> Parcel:
        descriptions = _ours(message).get("buffers", [])
        return Parcel(manifest, self._large_buffers.receive(descriptions, message.get("buffers", [])))

    def _publish_result(self, parcel: Parcel, ran_ms: int, parent: dict[str, Any]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        descriptions, inline = self._large_buffers.send(parcel.buffers)
        self.session.send(
            self.iopub_socket,
            "perijove_result",
            {"manifest": parcel.manifest, "ran_ms": ran_ms},
            parent=parent,
            ident=self._topic("perijove_result"),
            buffers=inline,
            metadata={"perijove": {"buffers": descriptions}},
        )

    def _cell_not_run(self, error: BaseException, store_history: bool) -> dict[str, Any]:
        """The reply to a cell that fails before its first line; it has its number all the same."""
        if store_history:
            self.shell.execution_count += 1
        return self._error_of_cell(error)

    def _error_of_cell(self, error: BaseException) -> dict[str, Any]:
        """Show ``error`` as the cell's own, and give the reply that says so."""
        name, text = type(error).__name__, str(error)
        if isinstance(error, PerijoveError):
            lines = [f"{name}: {text}"]
        else:
            lines = "".join(traceback.format_exception(error)).splitlines()
        self.shell._showtraceback(type(error), text, lines)
        return {
            "status": "error",
            "ename": name,
            "evalue": text,
            "traceback": lines,
            "execution_count": self.shell.execution_count - 1,
            "user_expressions": {},
            "payload": [],
        }

    async def dispatch_shell(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Handle a message; one that ipykernel handles beside an ``await``-ing cell ends with ``idle`` like any other.

        ipykernel says nothing of those (7.4), and who sent them waits for ever.
        """
        await super().dispatch_shell(msg, *args, **kwargs)
        if kwargs.get("concurrent"):
            self._publish_status("idle", "shell")

    # between cells ----------------------------------------------------------------------------------------------

    async def perijove_exchange_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Fetch, push or drop variables while no cell runs."""
        content: dict[str, Any]
        descriptions: list[dict[str, Any]] = []
        inline: list[bytes] = []
        try:
            question = self._received_parcel(parent, parent["content"].get("manifest", {}))
            answer = self.namespace.exchange(question)
            descriptions, inline = self._large_buffers.send(answer.buffers)
            content = {"status": "ok", "manifest": answer.manifest}
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the notebook is told
            code = error.code if isinstance(error, PerijoveError) else ""
            content = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "code": code}
        self.session.send(
            stream,
            "perijove_exchange_reply",
            content,
            parent,
            ident,
            buffers=inline,
            metadata={"perijove": {"buffers": descriptions}},
        )

    # questions --------------------------------------------------------------------------------------------------

    def ask(self, question: Parcel) -> Parcel:
        """Ask the notebook that runs the current cell, and wait for its answer; an interrupt ends the wait.

        Raises:
            KernelReleased: when no ``%%gpu`` cell runs, so that nobody could answer.
            CannotTravel: when the question's buffers find no room.
        """
        if not _cell(self.get_parent("shell")):
            raise KernelReleased("no %%gpu cell is running, so the notebook cannot be asked for a name")
        descriptions, inline = self._large_buffers.send(question.buffers)
        answer = self._asked(
            "perijove_question_request",
            {"manifest": question.manifest},
            buffers=inline,
            metadata={"perijove": {"buffers": descriptions}},
        )
        return self._received_parcel(answer, answer["content"].get("manifest", {}))

    def ask_front(self, line: str) -> dict[str, Any]:
        """Have the kernel's front run a ``%gpu`` line and wait for what comes of it; an interrupt ends the wait.

        Raises:
            UsageError: in a ``%%gpu`` cell, whose notebook runs such lines itself.
        """
        if _cell(self.get_parent("shell")):
            raise UsageError(f"%gpu {line}: put it outside of the %%gpu cell, where the notebook's own kernel reads it")
        content: dict[str, Any] = self._asked("perijove_command_request", {"line": line})["content"]
        return content

    def _asked(self, msg_type: str, content: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Ask whoever runs the current cell, on stdin, after what the cell has shown so far."""
        sys.stdout.flush()
        sys.stderr.flush()
        ident = self._get_shell_context_var(self._shell_parent_ident)
        with self._stdin_lock:
            sent = self.session.send(
                self.stdin_socket, msg_type, content, self.get_parent("shell"), ident=ident, **kwargs
            )
            return self._await_answer(sent["header"]["msg_id"])

    def _await_answer(self, msg_id: str) -> dict[str, Any]:
        while True:
            if not self.stdin_socket.poll(_QUESTION_POLL_MS):
                continue
            _, message = self.session.recv(self.stdin_socket)
            if message is not None and message["parent_header"].get("msg_id") == msg_id:
                answer: dict[str, Any] = message
                return answer  # anything else answers a question that was interrupted

    def _input_request(self, prompt: str, ident: Any, parent: Any, password: bool = False) -> str:
        with self._stdin_lock:  # ZeroMQ sockets are not for two threads at once
            text: str = super()._input_request(prompt, ident, parent, password)
            return text

    # interrupts -------------------------------------------------------------------------------------------------

    @contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        """Cancel an ``await``-ing cell on SIGINT, at once.

        ipykernel's own schedules the cancellation without waking the loop, which sleeps on (ipykernel 7.4). A
        producer that waits at the output gate holds the loop, so it is woken as well.
        """
        loop = asyncio.get_running_loop()
        gate = self.iopub_thread.gate

        def cancel() -> None:
            gate.interrupt_delivered()
            future.cancel()

        def handle_sigint(*_: object) -> None:
            gate.interrupt()
            loop.call_soon_threadsafe(cancel)

        previous = signal.signal(signal.SIGINT, handle_sigint)
        self._main_is_blocked = False
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)
            gate.interrupt_delivered()


def _pad_history(history: Any, count: int) -> None:
    """Let ``In[n]`` and ``%history`` go by the cells' numbers: IPython keeps them in lists, by their place there."""
    for inputs in (history.input_hist_parsed, history.input_hist_raw):
        inputs.extend([""] * min(count - len(inputs), _MOST_PADDED))


def _ours(message: dict[str, Any]) -> dict[str, Any]:
    ours = (message.get("metadata") or {}).get("perijove")
    return ours if isinstance(ours, dict) else {}


def _cell(message: dict[str, Any]) -> dict[str, Any]:
    """What makes a request a ``%%gpu`` cell; empty for any other."""
    cell = _ours(message).get("cell")
    return cell if isinstance(cell, dict) else {}
