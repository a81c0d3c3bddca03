"""A notebook as a front-end drives it: a real ipykernel in a process, cells sent to it, everything it answers kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any, Self

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager


@dataclass
class CellResult:
    """What a cell did: its IOPub messages in order, and its reply."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    def _texts(self, name: str) -> str:
        return "".join(m["content"]["text"] for m in self.of("stream") if m["content"]["name"] == name)

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["msg_type"] in types]

    @property
    def stdout(self) -> str:
        return self._texts("stdout")

    @property
    def stderr(self) -> str:
        return self._texts("stderr")

    @property
    def result(self) -> str | None:
        results = self.of("execute_result")
        return results[-1]["content"]["data"]["text/plain"] if results else None

    @property
    def ok(self) -> bool:
        return self.reply["content"]["status"] == "ok"

    @property
    def error(self) -> str:
        """``Name: text`` of the error, or nothing."""
        content = self.reply["content"]
        return "" if self.ok else f"{content['ename']}: {content['evalue']}"

    @property
    def status_line(self) -> str:
        lines = [m for m in self.of("display_data") if role(m) == "status"]
        return lines[-1]["content"]["data"]["text/plain"] if lines else ""


def role(message: dict[str, Any]) -> str:
    """What an output of ours is for; empty for the user's own."""
    return str(message["content"].get("metadata", {}).get("perijove", {}).get("role", ""))


class NotebookKernel:
    """A python3 kernel and a client of it; a context manager."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self._environment = environment
        self._directory = directory
        self.client: BlockingKernelClient
        self.seen = ""  # by the last wait_for

    def __enter__(self) -> Self:
        self.manager.start_kernel(env=self._environment, cwd=str(self._directory))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=not self.manager.is_alive())
        self.manager.cleanup_resources()

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)

    def start(self, code: str, *, allow_stdin: bool = False) -> str:
        """Send a cell and return at once, with its message id."""
        return str(self.client.execute(code, allow_stdin=allow_stdin))

    def finish(self, message_id: str, timeout_s: float = 60.0) -> CellResult:
        """Wait for a cell's reply and idle."""
        result, idle, deadline = CellResult(), False, time.monotonic() + timeout_s
        while not (idle and result.reply):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cell did not finish within {timeout_s} s; so far: {result}")
            if not idle:
                try:
                    message = self.client.get_iopub_msg(timeout=0.2)
                except Empty:
                    message = None
                if message is not None and message["parent_header"].get("msg_id") == message_id:
                    result.messages.append(message)
                    idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            if not result.reply:
                try:
                    reply = self.client.get_shell_msg(timeout=0.2 if idle else 0)
                except Empty:
                    continue
                if reply["parent_header"].get("msg_id") == message_id:
                    result.reply = reply
        return result

    def run(self, code: str, timeout_s: float = 60.0) -> CellResult:
        return self.finish(self.start(code), timeout_s)

    def wait_for(self, message_id: str, text: str, timeout_s: float = 30.0) -> str:
        """Wait until a cell that is running has printed ``text``; returns what it printed until then."""
        deadline, self.seen = time.monotonic() + timeout_s, ""
        while text not in self.seen:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} was not printed within {timeout_s} s; so far: {self.seen!r}")
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") == message_id and message["msg_type"] == "stream":
                self.seen += message["content"]["text"]
        return self.seen

    def wait_for_display(self, message_id: str, text: str, timeout_s: float = 30.0) -> str:
        """Wait until a cell that is running shows ``text`` in a display; returns the display's text."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            shown = str(message["content"].get("data", {}).get("text/plain", ""))
            if message["parent_header"].get("msg_id") == message_id and text in shown:
                return shown
        raise TimeoutError(f"{text!r} was not shown within {timeout_s} s")

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()
