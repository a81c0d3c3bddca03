"""One real ipykernel process: started, made ready, spoken to, watched, and ended with everything it started.

It is the same before it is bound (a spare) and after; who it works for is kept in :mod:`.kernels`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import zmq

from ..wire.ids import new_incarnation
from ..wire.jupyter_frames import decode_frame, encode_frame
from ..wire.link_connection import LinkConnection
from ..wire.models import Gpu
from .blobs import Blobs
from .channel import Channel, Flow
from .connection import Connection, message_header
from .data_link import DataLink
from .death import Reason, out_of_memory_kills, why_it_ended
from .dialing import Dial
from .errors import KernelStartFailed
from .interrupts import shell_seq_of
from .overflow import Overflow
from .pending_cells import PendingCells, is_cell
from .premises import Premises
from .runtime.environment import AGENT_PID, BLOB_DIR, FLOW_FILE, MARK, START_NICE
from .spool import Spool
from .strays import end_marked
from .streams import Arrival, KernelStreams

READY_TIMEOUT_S = 60.0
BIND_TIMEOUT_S = 10.0
_FLUSH_TIMEOUT_S = 1.0
_SHUTDOWN_TIMEOUT_S = 1.0
_NICE = 10
_KEPT_BACK = ("PERIJOVE_", "JPY_", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_WARM_UP = {
    # The first cell of any kernel pays for what IPython sets up lazily: let a cell that nobody sees be the first.
    "code": "pass",
    "silent": True,
    "store_history": False,
    "user_expressions": {"warm": "1"},
    "allow_stdin": False,
}
BLANK_DEVICES: dict[str, str | None] = {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "none"}

log = structlog.get_logger("perijove.agent")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all kernel processes of an agent share."""

    premises: Premises
    context: zmq.Context[zmq.Socket[bytes]]
    dial: Dial[LinkConnection]
    spool_limit_bytes: int


class KernelProcess:
    """Make it with :func:`start_process`."""

    def __init__(self, workshop: Workshop, incarnation: bytes) -> None:
        premises = workshop.premises
        name = incarnation.hex()
        self.incarnation = incarnation
        self.directory = premises.runtime_dir / name[:8]
        self.blob_directory = premises.blob_dir / name[:8]
        for directory in (self.directory, self.blob_directory):
            directory.mkdir(mode=0o700)
        self._mark = f"{premises.mark}:{name}"
        self._session = ""
        self._niced = False
        self._ending = False
        self._served = False
        self._kills_before = out_of_memory_kills()
        self._popen: subprocess.Popen[bytes] | None = None
        self._heard = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.ended: asyncio.Future[tuple[Reason, str]] = asyncio.get_running_loop().create_future()
        self.cells = PendingCells()
        self.on_activity: Callable[[], None] = _nothing
        connection = Connection.create(self.directory)
        self.streams = KernelStreams(
            incarnation, Spool(Overflow(premises.spool_dir / name), workshop.spool_limit_bytes)
        )
        self._flow = Flow(self.directory / "flow")
        self.channel = Channel(
            workshop.context, connection, self._flow, self._from_kernel, lambda: not self.streams.spool.full
        )
        self.link = DataLink(
            workshop.dial,
            incarnation,
            self.streams,
            self._from_client,
            lambda envelope: self.blobs.receive(envelope),
            self.channel.resume_taking,
        )
        self.blobs = Blobs(self.blob_directory, incarnation, self.link.send_later)
        self._connection = connection

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def mark(self) -> str:
        return self._mark

    @property
    def busy(self) -> bool:
        return bool(self.cells)

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    # life -------------------------------------------------------------------------------------------------------

    def spawn(self, *, low_priority: bool) -> None:
        """Start the process. Must run in the main thread: the parent-death signal comes when the *thread* ends."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_KEPT_BACK)}
        environment |= {
            AGENT_PID: str(os.getpid()),
            MARK: self._mark,
            FLOW_FILE: str(self.directory / "flow"),
            BLOB_DIR: str(self.blob_directory),
            "CUDA_VISIBLE_DEVICES": "",  # a spare that touched a GPU would be a bug
            "NVIDIA_VISIBLE_DEVICES": "none",
        }
        if low_priority and _may_raise_priority():
            environment[START_NICE] = str(_NICE)
            self._niced = True
        with (self.directory / "errors").open("wb") as errors:
            self._popen = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "perijove.remote_agent.runtime",
                    "-f",
                    str(self._connection.file),
                    "--HistoryManager.hist_file=:memory:",  # several users' kernels must not share one history
                    *_parent_poller(),
                ],
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    async def watch(self) -> None:
        """Return when the process has ended; then ``ended`` says why."""
        assert self._popen is not None
        status = await _exit_status(self._popen)
        reason = why_it_ended(status, self._kills_before, out_of_memory_kills())
        self.channel.drain_all()
        if not self._ending:  # what it printed last may say why it died
            await self.link.flushed(_FLUSH_TIMEOUT_S)
        if not self.ended.done():
            self.ended.set_result(reason)

    async def become_ready(self) -> None:
        """Wait until the kernel answers and its output arrives.

        Raises:
            KernelStartFailed: when it ended or kept silent; with what it last wrote to stderr.
        """
        ready = asyncio.ensure_future(self._answers())
        try:
            both: set[asyncio.Future[Any]] = {ready, self.ended}
            await asyncio.wait(both, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and ready.exception() is None and self.alive:
                self._session = ready.result()
                return
        finally:
            ready.cancel()
        errors = (self.directory / "errors").read_text(errors="replace").strip().splitlines()
        raise KernelStartFailed(f"a kernel process did not start: {errors[-1] if errors else 'it kept silent'}")

    async def _answers(self) -> str:
        reply = await self.channel.request("shell", "kernel_info_request", {}, READY_TIMEOUT_S)
        await self._heard.wait()
        await self.channel.request("shell", "execute_request", _WARM_UP, READY_TIMEOUT_S)
        session: str = reply["header"]["session"]
        return session

    async def bind(
        self,
        environment: dict[str, str | None],
        directory: Path | None = None,
        session: str = "",
        gpus: Sequence[Gpu] = (),
    ) -> None:
        """Tell the kernel its devices (and its directory, and the Jupyter session that its messages are to name).

        Raises:
            TimeoutError: when its control thread does not answer.
            KernelStartFailed: when it could not do so.
        """
        content = {
            "environment": environment,
            "directory": None if directory is None else str(directory),
            "session": session,
            "gpus": [{"model": gpu.model, "memory_bytes": gpu.memory_bytes} for gpu in gpus],
        }
        reply = await self.channel.request("control", "perijove_bind_request", content, BIND_TIMEOUT_S)
        if reply["content"].get("status") != "ok":
            raise KernelStartFailed(f"the kernel could not be set up: {reply['content'].get('evalue', '')}")
        self._session = session or self._session
        self._served = True

    def wake_up(self) -> None:
        """It starts at a low priority, so as not to disturb running cells; from now on it is one that runs them."""
        if not self._niced:
            return
        self._niced = False
        with contextlib.suppress(OSError):  # ended meanwhile
            threads = os.listdir(f"/proc/{self.pid}/task")
            for thread in threads:
                os.setpriority(os.PRIO_PROCESS, int(thread), 0)

    async def end(self) -> None:
        """End it and everything it started, and wait until all are gone.

        One that served and is idle is asked first, so that ``atexit`` handlers run as after any kernel's shutdown.
        """
        self._ending = True
        if self._served and not self.busy and self.alive:
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                async with asyncio.timeout(_SHUTDOWN_TIMEOUT_S):
                    await self.channel.request("control", "shutdown_request", {"restart": False}, _SHUTDOWN_TIMEOUT_S)
                    await asyncio.shield(self.ended)
        self._signal_group(signal.SIGKILL)
        await asyncio.to_thread(end_marked, self._mark)
        await asyncio.wait({self.ended}, timeout=BIND_TIMEOUT_S)

    def clear_away(self) -> None:
        """Close and remove what the process used; it has ended."""
        if self._popen is not None:
            self._popen.wait()
        if not self.ended.done():
            self.ended.set_result(("exited", "the agent was stopped"))
        self.channel.close()
        self._flow.close()
        self.blobs.close()
        self.streams.spool.close()
        for directory in (self.directory, self.blob_directory):
            shutil.rmtree(directory, ignore_errors=True)

    def interrupt(self) -> None:
        """SIGINT to the kernel and the commands that its cells run in the foreground."""
        self._signal_group(signal.SIGINT)

    def announce_stop(self, reason: str) -> None:
        """Tell the running cell's client why the cell is about to be stopped (docs/protocol.md §5)."""
        request = self.cells.running_header
        if request is not None:
            header = message_header("perijove_stopping", new_incarnation().hex(), self._session)
            content = json.dumps({"reason": reason}).encode()
            self.streams.spool.append(encode_frame("iopub", [header, request, b"{}", content]))
            self.link.wake()

    async def idle_within(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._idle.is_set()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._popen is None or self._popen.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def sample_memory_kills(self) -> None:
        """Called every few seconds: only a kill between two samples can explain a death."""
        self._kills_before = out_of_memory_kills()

    # messages ---------------------------------------------------------------------------------------------------

    def _from_kernel(self, channel: str, parts: list[bytes]) -> None:
        if channel == "iopub":
            self._heard.set()
            if self.cells.status_seen(parts):
                self._idle.set()
                self.on_activity()
        if self._session:  # before that nobody listens: what a starting kernel says is not a client's
            self.streams.spool.append(encode_frame(channel, parts))
            self.link.wake()

    def _from_client(self, arrival: Arrival) -> None:
        message = decode_frame(arrival.frame)
        header = bytes(message.header)
        if message.channel == "control" and b'"interrupt_request"' in header:
            shell_seq = shell_seq_of(bytes(message.metadata))
            if self.streams.interrupts.arrived(arrival.stream, shell_seq, self.cells.running):
                self.interrupt()
            self._answer(header, "control", "interrupt_reply", b'{"status": "ok"}')
            return
        if message.channel not in ("shell", "control", "stdin"):
            return
        if message.channel == "shell":
            if self.streams.interrupts.is_cancelled(arrival.stream, arrival.seq) and is_cell(header):
                self._answer(header, "shell", "execute_reply", b'{"status": "aborted"}')
                return
            if self.cells.request_sent(header, arrival.stream, arrival.seq):
                self._idle.clear()
                self.on_activity()
        self.channel.send(message.channel, message.parts)

    def _answer(self, request: bytes, channel: str, reply: str, content: bytes) -> None:
        """Answer in the kernel's place, with the busy and idle that belong to any request."""
        answers: list[tuple[str, str, bytes]] = [
            ("iopub", "status", b'{"execution_state": "busy"}'),
            (channel, reply, content),
            ("iopub", "status", b'{"execution_state": "idle"}'),
        ]
        for where, msg_type, said in answers:
            header = message_header(msg_type, new_incarnation().hex(), self._session)
            self.streams.spool.append(encode_frame(where, [header, request, b"{}", said]))
        self.link.wake()


def _nothing() -> None:
    pass


def _parent_poller() -> list[str]:
    """Where no signal says that the agent has died, ipykernel looks for it every second."""
    return [] if sys.platform == "linux" else [f"--IPKernelApp.parent_handle={os.getpid()}"]


def _may_raise_priority() -> bool:
    """Whether a lowered priority could be raised again: root may, others by their resource limit."""
    if sys.platform != "linux":
        return False
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20


async def _exit_status(popen: subprocess.Popen[bytes]) -> int:
    """Wait for a child: through a pidfd, so that its end is noticed at once and costs no thread."""
    if not hasattr(os, "pidfd_open"):
        return await asyncio.to_thread(popen.wait)
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(popen.pid)
    gone: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, _tell, gone)
    try:
        await gone
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return popen.wait()


def _tell(gone: asyncio.Future[None]) -> None:
    if not gone.done():
        gone.set_result(None)


def start_process(workshop: Workshop, *, low_priority: bool) -> KernelProcess:
    process = KernelProcess(workshop, new_incarnation())
    try:
        process.spawn(low_priority=low_priority)
    except OSError as error:
        process.clear_away()
        raise KernelStartFailed(f"a kernel process could not be started: {error}") from error
    return process
