"""A front-end as jupyter_client has it: one ipykernel of its own, its sockets, and cells that are timed.

The same front-end code measures plain cells and ``%%gpu`` cells: it starts the same local ``python -m
ipykernel_launcher`` and talks to it with jupyter_client's ``Session`` over the sockets of the connection file. It reads
with no high-water mark, at once, so that what is lost was not lost by the reader.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

REPLY_WITHIN_S = 120.0
EXIT_WITHIN_S = 15.0
Message = dict[str, Any]


class CellFailed(Exception):
    """A cell that should have worked raised; with its traceback's last line."""


@dataclass(slots=True)
class Execution:
    """A cell as the front-end saw it; durations from sending the request, in seconds."""

    reply_s: float = 0.0
    idle_s: float = 0.0
    text: str = ""
    streams: int = 0  # messages
    displays: int = 0
    error: str = ""
    status_lines: list[str] = field(default_factory=list)

    @property
    def done_s(self) -> float:
        """A cell is done at its reply *and* its idle."""
        return max(self.reply_s, self.idle_s)


class FrontEnd:
    """One local kernel and the sockets to it. A context manager; leaving it stops the kernel, gently first."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        path, details = write_connection_file(str(directory / f"kernel-{time.monotonic_ns()}.json"), ip="127.0.0.1")
        self._started_at = time.perf_counter()
        self._log = (directory / "kernel.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", path, "--HistoryManager.hist_file=:memory:"],
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
        deadline = time.monotonic() + REPLY_WITHIN_S
        while (left := deadline - time.monotonic()) > 0:
            if self._shell.poll(left * 1000):
                message = self._receive(self._shell)
                if message["parent_header"].get("msg_id") == message_id:
                    return message
        raise TimeoutError(f"the local kernel did not answer a {msg_type} within {REPLY_WITHIN_S:.0f} s")

    def wait_until_heard(self) -> None:
        """Run cells until IOPub arrives: a subscription takes a moment to reach the kernel."""
        for _ in range(100):
            self._send(self._shell, "kernel_info_request", {})
            if self._iopub.poll(100):
                break
        time.sleep(0.2)
        for socket in (self._shell, self._iopub):
            while socket.poll(50):
                self._receive(socket)

    def execute(self, code: str, *, history: bool = True, within_s: float = REPLY_WITHIN_S) -> Execution:
        """Run a cell and wait for its reply and its idle.

        Raises:
            CellFailed: when it raised.
            TimeoutError: when it was not done in time.
        """
        seen = Execution()
        content = {
            "code": code,
            "silent": False,
            "store_history": history,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        poller = zmq.Poller()
        poller.register(self._shell, zmq.POLLIN)
        poller.register(self._iopub, zmq.POLLIN)
        started = time.perf_counter()
        message_id = self._send(self._shell, "execute_request", content)
        deadline = started + within_s
        while not (seen.reply_s and seen.idle_s):
            left = deadline - time.perf_counter()
            if left <= 0 or not (ready := dict(poller.poll(left * 1000))):
                raise TimeoutError(f"a cell was not done within {within_s:.0f} s: {code[:60]!r}")
            for socket in (self._iopub, self._shell):
                if socket in ready:
                    self._take(self._receive(socket), message_id, seen, started)
        if seen.error:
            raise CellFailed(f"{code[:60]!r}: {seen.error}")
        return seen

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

    def _take(self, message: Message, message_id: str, seen: Execution, started: float) -> None:
        if message["parent_header"].get("msg_id") != message_id:
            return
        content = message["content"]
        match message["header"]["msg_type"]:
            case "execute_reply":
                seen.reply_s = time.perf_counter() - started
                if content["status"] != "ok":
                    seen.error = seen.error or f"{content.get('ename')}: {content.get('evalue')}"
            case "status" if content["execution_state"] == "idle":
                seen.idle_s = time.perf_counter() - started
            case "stream":
                seen.streams += 1
                seen.text += content["text"]
            case "display_data" if content["metadata"].get("perijove", {}).get("role") == "status":
                seen.status_lines.append(content["data"]["text/plain"])
            case "display_data":
                seen.displays += 1
            case "error":
                seen.error = f"{content['ename']}: {content['evalue']}"

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
