"""A front-end as jupyter_client has it: one ipykernel of its own, its sockets, and cells that are timed.

The same front-end code measures plain cells, ``%%gpu`` cells and those of the GPU kernel: it starts a kernel by its
command and talks to it with jupyter_client's ``Session`` over the sockets of the connection file. It reads with no
high-water mark, at once, so that what is lost was not lost by the reader.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

from .cells import WITHIN_S, Execution, Message, run_cell

EXIT_WITHIN_S = 15.0


def plain_kernel(connection_file: str) -> list[str]:
    """The command of a stock ipykernel that writes no history to disk."""
    return [sys.executable, "-m", "ipykernel_launcher", "-f", connection_file, "--HistoryManager.hist_file=:memory:"]


class FrontEnd:
    """One local kernel and the sockets to it. A context manager; leaving it stops the kernel, gently first."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], command: Callable[[str], list[str]] = plain_kernel
    ) -> None:
        """``command`` starts the kernel with a connection file, whose path it is given."""
        self.directory = directory
        path, details = write_connection_file(str(directory / f"kernel-{time.monotonic_ns()}.json"), ip="127.0.0.1")
        self._started_at = time.perf_counter()
        self._log = (directory / "kernel.log").open("ab")
        self.process = subprocess.Popen(
            command(path),
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._session = Session(key=details["key"].encode() if isinstance(details["key"], str) else details["key"])
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._shell = self._connect(zmq.DEALER, details["shell_port"])
        self._control = self._connect(zmq.DEALER, details["control_port"])
        self._iopub = self._connect(zmq.SUB, details["iopub_port"])
        self._poller = zmq.Poller()
        self._poller.register(self._shell, zmq.POLLIN)
        self._poller.register(self._iopub, zmq.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive_s(self) -> float:
        """How long ago the process was started."""
        return time.perf_counter() - self._started_at

    def ask(self, msg_type: str, content: Message) -> Message:
        """A request on shell and its reply, whatever IOPub says."""
        message_id = self._send(self._shell, msg_type, content)
        deadline = time.monotonic() + WITHIN_S
        while (left := deadline - time.monotonic()) > 0:
            if self._shell.poll(math.ceil(left * 1000)):
                message = self._receive(self._shell)
                if message["parent_header"].get("msg_id") == message_id:
                    return message
        raise TimeoutError(f"the local kernel did not answer a {msg_type} within {WITHIN_S:.0f} s")

    def wait_until_heard(self) -> None:
        """Ask until IOPub arrives: a subscription takes a moment to reach the kernel.

        Raises:
            RuntimeError: when it has ended, or keeps silent.
        """
        for _ in range(100):
            self._send(self._shell, "kernel_info_request", {})
            if self._iopub.poll(100):
                break
            if self.process.poll() is not None:
                raise RuntimeError(f"the kernel has ended: {(self.directory / 'kernel.log').read_text()[-500:]}")
        else:
            raise RuntimeError(f"nothing was heard of {' '.join(map(str, self.process.args))}")  # type: ignore[arg-type]
        time.sleep(0.2)
        for socket in (self._shell, self._iopub):
            while socket.poll(50):
                self._receive(socket)

    def execute(
        self, code: str, *, history: bool = True, within_s: float = WITHIN_S, may_lose: bool = False
    ) -> Execution:
        """Run a cell; see :func:`~.cells.run_cell`."""
        return run_cell(
            self._send_on_shell, self._arrivals, code, history=history, within_s=within_s, may_lose=may_lose
        )

    def stay_connected(self) -> None:
        """ZeroMQ looks after that."""

    def close(self) -> None:
        """Ask the kernel to shut down, so that it says goodbye to whatever it holds; end it if it does not."""
        if self.process.poll() is None:
            self._send(self._control, "shutdown_request", {"restart": False})
            try:
                self.process.wait(EXIT_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._context.destroy(linger=0)
        self._log.close()

    def _send_on_shell(self, msg_type: str, content: Message) -> str:
        return self._send(self._shell, msg_type, content)

    def _arrivals(self, timeout_s: float) -> Iterator[Message]:
        ready = dict(self._poller.poll(math.ceil(timeout_s * 1000)))
        for socket in (self._iopub, self._shell):
            if socket in ready:
                yield self._receive(socket)

    def _send(self, socket: zmq.Socket[bytes], msg_type: str, content: Message) -> str:
        return str(self._session.send(socket, msg_type, content)["header"]["msg_id"])

    def _receive(self, socket: zmq.Socket[bytes]) -> Message:
        _, parts = self._session.feed_identities(socket.recv_multipart())
        return self._session.deserialize(parts)

    def _connect(self, kind: int, port: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.rcvhwm = 0
        socket.setsockopt(zmq.RECONNECT_IVL, 1)  # ms: a start is timed to the reply, not to the next attempt
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        socket.connect(f"tcp://127.0.0.1:{port}")
        return socket
