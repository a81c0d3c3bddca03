"""A front-end with an installed kernel: started by jupyter_client from its kernelspec, spoken to on every channel."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any, Self

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from ..notebook_kernel import CellResult

Message = dict[str, Any]
GPU_KERNEL = "perijove-h100"


def manager_of(kernel_name: str, environment: dict[str, str]) -> KernelManager:
    """A manager that finds kernelspecs where ``environment`` has them installed."""
    specs = KernelSpecManager(kernel_dirs=[str(Path(environment["JUPYTER_PATH"]) / "kernels")])
    return KernelManager(kernel_name=kernel_name, kernel_spec_manager=specs)


class FrontEnd:
    """A kernel's process and one client of it; a context manager."""

    def __init__(self, kernel_name: str, environment: dict[str, str], directory: Path) -> None:
        self.name = kernel_name
        self.broker_name = f"front-end-{uuid.uuid4().hex[:8]}"  # what the broker calls its kernel
        self.environment = environment | {"PERIJOVE_KERNEL_NAME": self.broker_name}
        self.directory = directory
        self.manager = manager_of(kernel_name, environment)
        self.client: BlockingKernelClient
        self._replies: dict[str, Message] = {}
        self._outputs: dict[str, list[Message]] = {}

    def __enter__(self) -> Self:
        self.manager.start_kernel(env=self.environment, cwd=str(self.directory))
        try:
            self.client = self.connect()
        except BaseException:
            self.manager.shutdown_kernel(now=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=not self.manager.is_alive())
        self.manager.cleanup_resources()

    @property
    def is_gpu_kernel(self) -> bool:
        return self.name == GPU_KERNEL

    @property
    def pid(self) -> int:
        """Of the process that the front-end has started."""
        return int(self.manager.provisioner.pid)

    def connect(self) -> BlockingKernelClient:
        """Another client, which has had a first answer; the manager's own would all have one identity."""
        client = BlockingKernelClient(connection_file=self.manager.connection_file)
        client.load_connection_file()
        client.start_channels(hb=False)  # on a busy machine a late beat would count as a death
        client.wait_for_ready(timeout=60)
        return client

    # shell ------------------------------------------------------------------------------------------------------

    def start(self, code: str, **options: Any) -> str:
        """Send a cell and return at once, with its message id."""
        return str(self.client.execute(code, **{"allow_stdin": False, **options}))

    def finish(self, message_id: str, timeout_s: float = 60.0) -> CellResult:
        """Wait for a cell's reply, then for its idle."""
        reply = self.reply(message_id, timeout_s)
        return CellResult(self.output(message_id, timeout_s), reply)

    def run(self, code: str, timeout_s: float = 60.0, **options: Any) -> CellResult:
        return self.finish(self.start(code, **options), timeout_s)

    def ask(self, msg_type: str, content: Message | None = None, channel: str = "shell", **header: Any) -> Message:
        """Send a request; its reply."""
        message_id = self.send(msg_type, content, channel, **header)
        return self.reply(message_id, channel=channel)

    def send(
        self,
        msg_type: str,
        content: Message | None = None,
        channel: str = "shell",
        buffers: list[bytes] | None = None,
        **header: Any,
    ) -> str:
        """Send anything; ``header`` is added to the message's header."""
        message = self.client.session.msg(msg_type, content or {})
        message["header"].update(header)
        # jupyter_client's channels send no buffers, and its session keeps a header that it is given
        socket = self.client.shell_channel.socket if channel == "shell" else self.client.control_channel.socket
        self.client.session.send(socket, message, buffers=buffers)
        return str(message["header"]["msg_id"])

    def reply(self, message_id: str, timeout_s: float = 60.0, channel: str = "shell") -> Message:
        """The reply to a message; those to others are kept for who asks for them."""
        get = self.client.get_shell_msg if channel == "shell" else self.client.get_control_msg
        if message_id not in self._replies:
            for message in _arriving(get, timeout_s, f"a reply on {channel}"):
                self._replies[parent_of(message)] = message
                if message_id in self._replies:
                    break
        return self._replies.pop(message_id)

    # iopub ------------------------------------------------------------------------------------------------------

    def output(self, message_id: str, timeout_s: float = 60.0) -> list[Message]:
        """What IOPub says of a message, up to its idle; what it says of others is kept for who asks for them."""
        messages = self._outputs.pop(message_id, [])
        arriving = _arriving(self.client.get_iopub_msg, timeout_s, f"idle of {message_id}")
        while not (messages and is_idle(messages[-1])):
            message = next(arriving)
            kept = messages if parent_of(message) == message_id else self._outputs.setdefault(parent_of(message), [])
            kept.append(message)
        return messages

    def output_of_all(self, message_id: str, timeout_s: float = 60.0) -> list[Message]:
        """Everything that IOPub says up to a message's idle."""
        messages = []
        for message in _arriving(self.client.get_iopub_msg, timeout_s, f"idle of {message_id}"):
            messages.append(message)
            if is_idle(message) and parent_of(message) == message_id:
                break
        return messages

    def wait_for_text(self, message_id: str, text: str, timeout_s: float = 30.0) -> str:
        """Wait until a running cell has printed ``text``; what it printed until then."""
        seen = ""
        for message in _arriving(self.client.get_iopub_msg, timeout_s, f"{text!r} printed"):
            if parent_of(message) == message_id and message["msg_type"] == "stream":
                seen += message["content"]["text"]
                if text in seen:
                    break
        return seen

    def wait_for(self, wanted: Callable[[Message], bool], what: str, timeout_s: float = 30.0) -> Message:
        """The next message on IOPub that is wanted; those before it are dropped."""
        return next(m for m in _arriving(self.client.get_iopub_msg, timeout_s, what) if wanted(m))

    # the others -------------------------------------------------------------------------------------------------

    def interrupt(self) -> Message:
        """As the kernelspec says it is done; the reply, where it is done by message."""
        if self.manager.kernel_spec.interrupt_mode != "message":
            self.manager.interrupt_kernel()
            return {}
        return self.ask("interrupt_request", channel="control")

    def question(self, timeout_s: float = 30.0) -> Message:
        """What the kernel asks on stdin."""
        return next(_arriving(self.client.get_stdin_msg, timeout_s, "a question on stdin"))


def _arriving(get: Callable[..., Message], timeout_s: float, what: str) -> Iterator[Message]:
    deadline, last = time.monotonic() + timeout_s, None
    while True:
        try:
            message = get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise TimeoutError(f"{what}: not within {timeout_s} s; the last message was {last}") from None
        last = {"type": message["msg_type"], "content": str(message["content"])[:300]}
        yield message


def free_ports(count: int) -> list[int]:
    """As front-ends pick them: free a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def parent_of(message: Message) -> str:
    return str(message["parent_header"].get("msg_id", ""))


def is_idle(message: Message) -> bool:
    return message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
