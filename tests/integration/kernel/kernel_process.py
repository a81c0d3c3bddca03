"""The kernel as a front-end has it: ``python -m perijove.kernel`` in a process, spoken to with jupyter_client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
KEY = "a key of the tests"


def free_ports(count: int) -> list[int]:
    """As front-ends pick them: free a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class KernelProcess:
    """Started by :meth:`start`; ``file`` is its connection file."""

    file: Path
    environment: dict[str, str]
    arguments: list[str] = field(default_factory=lambda: ["--gpu", "H100"])
    process: subprocess.Popen[bytes] | None = None
    client: BlockingKernelClient | None = None

    def write_file(self, **changes: Any) -> dict[str, Any]:
        document: dict[str, Any] = {
            "ip": "127.0.0.1",
            "transport": "tcp",
            "key": KEY,
            "signature_scheme": "hmac-sha256",
            "kernel_name": "perijove-h100",
        }
        document |= {f"{name}_port": port for name, port in zip(CHANNELS, free_ports(5), strict=True)}
        document |= changes
        self.file.write_text(json.dumps(document))
        return document

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perijove.kernel", "-f", str(self.file), *self.arguments],
            env=self.environment,
            cwd=self.file.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def connect(self) -> BlockingKernelClient:
        """Another front-end."""
        client = BlockingKernelClient(connection_file=str(self.file))
        client.load_connection_file()
        client.start_channels()
        return client

    def end(self, signum: int = signal.SIGTERM, within_s: float = 10.0) -> tuple[int, str]:
        """Send a signal; returns the exit status and what was said on stderr."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=within_s)
        assert out == b"", "a kernel says nothing on stdout"
        return self.process.returncode, err.decode()


def environment_of(directory: Path) -> dict[str, str]:
    """Where nothing of the user's is found, no broker either."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PERIJOVE_", "JPY_"))}
    return environment | {"PERIJOVE_DATA": str(directory / "data")}


@contextlib.contextmanager
def running(directory: Path, environment: dict[str, str] | None = None, **file: Any) -> Iterator[KernelProcess]:
    """A kernel and one front-end of it, which has had a first answer."""
    kernel = KernelProcess(directory / "kernel.json", environment or environment_of(directory))
    kernel.write_file(**file)
    kernel.start()
    kernel.client = kernel.connect()
    try:
        kernel.client.wait_for_ready(timeout=30)
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.end()


def answer_of(client: BlockingKernelClient, message_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
    """The shell's reply to a message."""
    while True:
        reply: dict[str, Any] = client.get_shell_msg(timeout=timeout_s)
        if reply["parent_header"].get("msg_id") == message_id:
            return reply


def output_of(client: BlockingKernelClient, message_id: str, timeout_s: float = 30.0) -> list[dict[str, Any]]:
    """What IOPub says of a message, up to its ``idle``."""
    messages: list[dict[str, Any]] = []
    deadline = time.monotonic() + timeout_s
    while not (messages and messages[-1]["content"].get("execution_state") == "idle"):
        try:
            message = client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise TimeoutError(f"no idle came within {timeout_s} s; so far: {messages}") from None
        if message["parent_header"].get("msg_id") == message_id:
            messages.append(message)
    return messages


def perijove(environment: dict[str, str], *arguments: str) -> str:
    """Run the ``perijove`` command; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "perijove.cli", *arguments],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kernels_at_broker(environment: dict[str, str]) -> list[dict[str, Any]]:
    return list(json.loads(perijove(environment, "status", "--json"))["kernels"])


def until(condition: Any, what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


@dataclass
class Cell:
    reply: dict[str, Any]
    messages: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """What it printed and its result."""
        parts = []
        for message in self.messages:
            content = message["content"]
            parts.append(content.get("text") or content.get("data", {}).get("text/plain", ""))
        return "".join(part for part in parts if part)

    @property
    def error(self) -> str:
        content = self.reply["content"]
        return f"{content['ename']}: {content['evalue']}" if content["status"] == "error" else ""

    @property
    def count(self) -> int:
        return int(self.reply["content"]["execution_count"])


def run_cell(client: BlockingKernelClient, code: str, timeout_s: float = 60.0, **options: Any) -> Cell:
    message_id = client.execute(code, **options)
    reply = answer_of(client, message_id, timeout_s)
    return Cell(reply, output_of(client, message_id, timeout_s))
