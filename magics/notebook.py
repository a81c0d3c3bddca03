"""One notebook: its shell, the client's thread, and the remote kernels it has used."""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import threading
import uuid
from types import FrameType
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..client.address import BrokerAddress
from ..client.channel import KernelChannel, Listener
from ..client.find_broker import find_broker
from ..client.http import BrokerClient
from ..client.loop_thread import LoopThread
from ..client.notebook_name import notebook_name
from ..client.wishes import wished_idle_timeout_s
from ..widgets.live_line import Progress
from ..wire.errors import PerijoveError, UsageError
from .local_activity import LocalActivity
from .messages import Document
from .outputs import Outputs, RemoteResult
from .remote_errors import show_errors_once
from .remote_kernel import RemoteKernel
from .status_line import StatusLine, show_status_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ..wire.gpu_spec import GpuSpec

GOODBYE_WITHIN_S = 2.0


class Notebook:
    """What ``%load_ext perijove`` adds to a shell. Starts nothing until it is used."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.outputs = Outputs(shell)
        self.progress = Progress(shell, self._output_is_empty)
        self.kernels: dict[str, RemoteKernel] = {}
        self.kernel_ids: list[str] = []  # all that this notebook has ever had, for its bill
        self.latest: RemoteKernel | None = None
        self._loop: LoopThread | None = None
        self._status_lines: list[StatusLine] = []
        self._depth = 0  # of cells run by cells
        self._wake_planned = threading.Event()
        self._local_activity = LocalActivity(self._report_local_activity)
        self._show_errors_again: Callable[[], None] = lambda: None
        self._events: list[tuple[str, Callable[..., None]]] = [
            ("pre_run_cell", self._before_cell),
            ("post_run_cell", self._after_cell),
        ]

    # life -----------------------------------------------------------------------------------------------------

    def register(self) -> None:
        for name, callback in self._events:
            self.shell.events.register(name, callback)
        self._show_errors_again = show_errors_once(self.shell)
        atexit.register(self.close)

    def unregister(self) -> None:
        for name, callback in self._events:
            with contextlib.suppress(ValueError):
                self.shell.events.unregister(name, callback)
        self._show_errors_again()
        atexit.unregister(self.close)
        self.close()

    def close(self) -> None:
        """Say goodbye: every GPU that this notebook holds is free at once."""
        kernels, self.kernels = list(self.kernels.values()), {}
        for kernel in kernels:
            with contextlib.suppress(Exception):
                kernel.goodbye(GOODBYE_WITHIN_S)
        if self._loop is not None:
            self._loop.stop()
            self._loop = None

    @property
    def loop(self) -> LoopThread:
        if self._loop is None or not self._loop.is_alive:
            self._loop = LoopThread()
            self._catch_endings()
        return self._loop

    def _catch_endings(self) -> None:
        """Front-ends stop kernels with SIGTERM, terminals with SIGHUP; Python dies on the spot: say goodbye first."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) == signal.SIG_DFL:  # a handler of somebody else's stays
                signal.signal(signum, self._terminated)

    def _terminated(self, signum: int, frame: FrameType | None) -> None:
        self.close()
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)

    # kernels --------------------------------------------------------------------------------------------------

    def kernel_for(self, spec: GpuSpec | None, name: str | None) -> RemoteKernel:
        """The kernel for a GPU spec (and a name), made if this notebook has none yet. No spec means the latest one.

        Raises:
            UsageError: when no spec is given and no cell has named one.
        """
        if spec is None:
            kernel = self.kernels.get(name) if name else self.latest
            if kernel is None:
                raise UsageError("name a GPU, like %%gpu H100; `%gpu list` shows what there is")
            wanted = kernel.spec
            key = kernel.name
        else:
            wanted = str(spec)
            key = name or wanted
        kernel = self.kernels.get(key)
        if kernel is not None and kernel.spec != wanted:
            raise UsageError(
                f"the kernel {key!r} runs on {kernel.spec}; give the one on {wanted} another --kernel name"
            )
        if kernel is None or kernel.failed:
            kernel = RemoteKernel(self, key, wanted)
        return kernel

    def attached(self, kernel: RemoteKernel) -> None:
        """A kernel has had a GPU: from now on it belongs to this notebook, and is the one that a bare %%gpu means."""
        self.kernels[kernel.name] = self.latest = kernel

    async def open_channel(self, spec: str, listener: Listener) -> KernelChannel:
        """Make a kernel at the broker and open its link. On the client's loop."""
        found = [await find_broker()]
        async with BrokerClient(found[0]) as broker:
            kernel_id = await broker.create_kernel(
                "perijove", spec, idle_timeout=wished_idle_timeout_s(), notebook=notebook_name(self.shell.user_ns)
            )
        self.kernel_ids.append(kernel_id)

        async def find_again() -> BrokerAddress:
            """The broker just found, the first time; a later connection may need another, newly started one."""
            return found.pop() if found else await find_broker()

        channel = KernelChannel(find_again, kernel_id, listener, __version__)
        self.loop.keep(channel.run())
        return channel

    def ask_broker(
        self, question: Callable[[BrokerClient], Awaitable[Any]], wait_text: str = "asking the broker…"
    ) -> Any:
        """Call the broker's API from the main thread."""

        async def ask() -> Any:
            async with BrokerClient(await find_broker()) as broker:
                return await question(broker)

        return self.progress.wait(self.loop.submit(ask()), lambda: wait_text)

    # what the running local cell is ---------------------------------------------------------------------------

    @property
    def execution_count(self) -> int:
        """The number of the running cell. The shell's own ``execution_count`` is already the next one's."""
        return int(self.shell.displayhook.prompt_count)

    def parent_header(self) -> Document:
        """The header of the front-end's request that is being run; one of our own in a terminal."""
        kernel = self.outputs.kernel
        header = kernel.get_parent("shell").get("header") if kernel is not None else None
        if header and header.get("msg_id"):
            return dict(header)
        return {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": ""}

    @property
    def allows_stdin(self) -> bool:
        kernel = self.outputs.kernel
        return True if kernel is None else bool(kernel._allow_stdin)

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks at the running cell's output as it comes: not where a program runs the notebook, nor
        where the cell is one inside another, whose output goes elsewhere."""
        return self.outputs.kernel is not None and self.allows_stdin and self._depth <= 1

    def set_result(self, has_result: bool, value: Any) -> None:
        """Put the value behind the result that the display hook has shown: ``_``, ``_N`` and ``Out[N]``."""
        hook: Any = self.shell.displayhook
        current: Any = sys.displayhook
        if not has_result or current is not hook:  # results that are captured are in neither
            return
        if hook.exec_result is not None:
            hook.exec_result.result = value
        outputs, count = self.shell.user_ns.get("_oh", {}), hook.prompt_count
        if not isinstance(outputs.get(count), RemoteResult):  # it was not shown: displays itself, or cannot be shown
            hook.update_user_ns(value)
            return
        outputs[count] = value
        names = {f"_{count}": value}
        if self.shell.user_ns.get("_") is hook._:
            names["_"] = value
        hook._ = value
        shell: Any = self.shell
        shell.push(names, interactive=False)  # as the hook does: it keeps to names that it finds in user_ns_hidden

    def note_display_error(self, error: Document) -> None:
        """The result could not be shown: ipykernel's reply says so, in these attributes of its shell."""
        shell: Any = self.shell
        shell._last_traceback = error.get("traceback", [])
        shell._last_traceback_during_displayhook = True

    def take_payloads(self, payloads: list[Document]) -> None:
        """What a cell asks of the front-end besides output: the pager of ``obj?``, text for the next cell."""
        for payload in payloads:
            if self.outputs.kernel is not None:
                manager: Any = self.shell.payload_manager
                manager.write_payload(payload)
            elif payload.get("source") == "page":
                print(payload.get("data", {}).get("text/plain", ""))
            elif payload.get("source") == "set_next_input":
                self.shell.set_next_input(payload.get("text", ""), replace=bool(payload.get("replace")))

    def end_with(self, line: StatusLine) -> None:
        """Show a status line when the local cell is over, as its last output."""
        self._status_lines.append(line)

    def _output_is_empty(self) -> bool:
        kernel = self.outputs.kernel
        if kernel is None or self.outputs.published:
            return False
        code = kernel.get_parent("shell").get("content", {}).get("code", "")
        return str(code).startswith(("%%gpu", "%gpu"))

    def _before_cell(self, info: Any) -> None:
        self._depth += 1
        if self._depth > 1:  # a cell inside a cell, as %%capture runs it
            return
        self.outputs.published = 0
        self._status_lines.clear()
        for kernel in self.kernels.values():
            kernel.pump_idle()
        if self.kernels and self._loop is not None:
            self._local_activity.cell_starts(self._loop)

    def _after_cell(self, result: Any) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth > 0:
            return
        self._local_activity.cell_ends()
        lines, self._status_lines = self._status_lines, []
        for line in lines:
            show_status_line(self.outputs, line)

    def _report_local_activity(self, busy: bool) -> None:
        """On the client's loop."""
        for kernel in list(self.kernels.values()):
            kernel.report_local_activity(busy)

    # output between cells -------------------------------------------------------------------------------------

    def wake_idle(self) -> None:
        """Something came and no thread relays: let the main loop do it when it is free. On the client's thread."""
        kernel = self.outputs.kernel
        if kernel is not None and not self._wake_planned.is_set() and getattr(kernel, "io_loop", None) is not None:
            self._wake_planned.set()
            kernel.io_loop.add_callback(self._pump_idle)

    def _pump_idle(self) -> None:
        self._wake_planned.clear()
        for kernel in list(self.kernels.values()):
            try:
                kernel.pump_idle()
            except PerijoveError as error:
                print(f"perijove: {error}", file=sys.stderr)
