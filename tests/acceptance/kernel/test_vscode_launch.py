"""VS Code's way with a kernelspec: how it spawns the kernel, connects, looks around, interrupts, stops and restarts.

The sequence and its time-outs are those of the Jupyter extension 2026.6, read in its source and seen on the wire; VS
Code itself is not run here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest
import zmq
from jupyter_client.session import Session

from ..observing import held_gpus, wait_until
from .front_end import GPU_KERNEL, Message, free_ports, is_idle, parent_of
from .hidden_cells import AT_START, HIDDEN, completion

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
LISTENING_WITHIN_S = ANSWERING_WITHIN_S = 60.0
ASKING_EVERY_S = 0.5
INTERRUPTED_WITHIN_S = 10.0

pytestmark = pytest.mark.xdist_group("kernel-vscode")


class VSCode:
    """One kernel, as VS Code runs it: the kernelspec's argv, a connection file and ports of its own choice."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment = environment
        self.directory = directory
        spec = Path(environment["JUPYTER_PATH"]) / "kernels" / GPU_KERNEL / "kernel.json"
        self.spec: dict[str, Any] = json.loads(spec.read_text())
        self.kernel_info: Message = {}
        self._kept: list[Message] = []

    def __enter__(self) -> Self:
        key = uuid.uuid4().hex
        addresses = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        file = self.directory / f"kernel-v3{uuid.uuid4().hex}.json"
        connection = {"version": 5, "transport": "tcp", "ip": "127.0.0.1", "key": key, "kernel_name": GPU_KERNEL}
        file.write_text(json.dumps(connection | {"signature_scheme": "hmac-sha256"} | addresses))
        argv = [str(file) if word == "{connection_file}" else word for word in self.spec["argv"]]
        environment = self.environment | self.spec["env"]
        self.process = subprocess.Popen(argv, env=environment, cwd=self.directory, stdin=subprocess.PIPE)
        try:
            self._connect(addresses, key)
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._context.destroy(linger=0)

    def _connect(self, ports: dict[str, int], key: str) -> None:
        """Wait until shell and IOPub listen, then ask on control and shell until there is an answer and an output."""
        for name in ("shell_port", "iopub_port"):
            wait_until(lambda port=ports[name]: listens(port), LISTENING_WITHIN_S)  # type: ignore[misc]
        self._session = Session(key=key.encode(), username="vscode")
        self._context = zmq.Context()
        routing_id = uuid.uuid4().hex.encode()  # one for all three
        self._sockets = {name: self._context.socket(zmq.DEALER) for name in ("shell", "control", "stdin")}
        for name, dealer in self._sockets.items():
            dealer.routing_id = routing_id
            dealer.connect(f"tcp://127.0.0.1:{ports[f'{name}_port']}")
        self._sockets["iopub"] = iopub = self._context.socket(zmq.SUB)
        iopub.subscribe(b"")
        iopub.connect(f"tcp://127.0.0.1:{ports['iopub_port']}")
        self._poller = zmq.Poller()
        for socket_ in self._sockets.values():
            self._poller.register(socket_, zmq.POLLIN)

        deadline, answer, output, next_time = time.monotonic() + ANSWERING_WITHIN_S, None, None, 0.0
        while answer is None or output is None:
            assert time.monotonic() < deadline, "no answer to kernel_info_request"
            if time.monotonic() >= next_time:
                for channel in ("control", "shell"):
                    self.send(channel, "kernel_info_request", {})
                next_time = time.monotonic() + ASKING_EVERY_S
            for channel, message in self._arrived(100):
                if message["msg_type"] == "kernel_info_reply":
                    answer = message
                output = message if channel == "iopub" else output
        self.kernel_info = answer["content"]

    def stop(self) -> None:
        """Children first, then what was launched: SIGTERM, and never a shutdown_request."""
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        assert self.process.stdin is not None
        self.process.stdin.close()

    # messages ---------------------------------------------------------------------------------------------------

    def send(self, channel: str, msg_type: str, content: Message) -> str:
        message = self._session.msg(msg_type, content)
        self._session.send(self._sockets[channel], message)
        return str(message["header"]["msg_id"])

    def wait_for(self, wanted: Callable[[str, Message], bool], within_s: float = 30.0) -> Message:
        """The first message (channel, message) that is wanted; others are kept for who waits for them."""
        for i, (channel, message) in enumerate(self._kept):
            if wanted(channel, message):
                del self._kept[i]
                return message
        deadline = time.monotonic() + within_s
        while True:
            assert time.monotonic() < deadline, f"it did not come; others: {[m['msg_type'] for _, m in self._kept]}"
            arrived = self._arrived(100)
            for i, (channel, message) in enumerate(arrived):
                if wanted(channel, message):
                    self._kept += arrived[:i] + arrived[i + 1 :]
                    return message
            self._kept += arrived

    def ask(self, channel: str, msg_type: str, content: Message, within_s: float = 30.0) -> Message:
        """Send a request; the content of its reply."""
        message_id = self.send(channel, msg_type, content)
        reply = self.wait_for(lambda c, m: c == channel and parent_of(m) == message_id, within_s)
        answer: Message = reply["content"]
        return answer

    def start(self, code: str, **options: Any) -> str:
        request = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
        return self.send("shell", "execute_request", {**request, "stop_on_error": False, **options})

    def finish(self, message_id: str) -> tuple[Message, list[Message]]:
        """A cell's reply and what it put out."""
        reply = self.wait_for(lambda c, m: c == "shell" and parent_of(m) == message_id, 60)
        self.wait_for(lambda c, m: c == "iopub" and parent_of(m) == message_id and is_idle(m))
        outputs = [m for c, m in self._kept if c == "iopub" and parent_of(m) == message_id]
        return reply["content"], outputs

    def run(self, code: str, **options: Any) -> tuple[Message, list[Message]]:
        return self.finish(self.start(code, **options))

    def _arrived(self, wait_ms: int) -> list[tuple[str, Message]]:
        ready = dict(self._poller.poll(wait_ms))
        found = []
        for channel, socket_ in self._sockets.items():
            while socket_ in ready and socket_.poll(0):
                _, frames = self._session.feed_identities(socket_.recv_multipart(), copy=True)
                found.append((channel, self._session.deserialize(frames)))
        return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def printed(outputs: list[Message]) -> str:
    return "".join(m["content"]["text"] for m in outputs if m["msg_type"] == "stream")


def results(outputs: list[Message]) -> list[str]:
    return [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "execute_result"]


@pytest.fixture
def code(own_environment: dict[str, str], tmp_path: Path) -> Iterator[VSCode]:
    with VSCode(own_environment, tmp_path) as code:
        yield code


def test_the_kernelspec_is_one_that_it_can_use(code: VSCode):
    assert "{connection_file}" in code.spec["argv"], "as an argument of its own"
    assert not any("ipykernel" in word for word in code.spec["argv"]), "such an argv is rewritten"
    assert code.spec["interrupt_mode"] == "message"
    assert Path(code.spec["metadata"]["interpreter"]["path"]).exists(), "where widgets' files are looked for"
    assert code.kernel_info["language_info"]["name"] == "python"


def test_discovery_may_execute_the_interpreter(code: VSCode, tmp_path: Path):
    (tmp_path / "interpreterInfo.py").write_text("import json, sys\nprint(json.dumps({'prefix': sys.prefix}))\n")
    asked = [code.spec["argv"][0], "-I", str(tmp_path / "interpreterInfo.py")]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout)["prefix"]


def test_what_it_does_at_the_start_attaches_nothing(code: VSCode):
    for hidden in AT_START:
        reply, outputs = code.run(hidden, **HIDDEN)
        assert reply["status"] == "ok"
        assert [m for m in outputs if m["msg_type"] in ("error", "display_data")] == []
    assert code.ask("shell", "complete_request", {"code": "", "cursor_pos": 0})["status"] == "ok"  # its warm-up
    code.run(completion("nothing_", "warm-up"), **HIDDEN)
    assert held_gpus(code.environment) == 0

    reply, outputs = code.run("print('hello'); __vsc_ipynb_file__")
    assert (reply["status"], reply["execution_count"]) == ("ok", 1)
    assert printed(outputs) == "hello\n"
    assert results(outputs) == ["'/notebooks/work.ipynb'"]
    assert held_gpus(code.environment) == 1


def test_input_is_asked_where_all_channels_have_one_routing_id(code: VSCode):
    message_id = code.start("name = input('your name? ')\nname")
    question = code.wait_for(lambda c, m: c == "stdin")
    assert question["content"]["prompt"] == "your name? "
    code.send("stdin", "input_reply", {"status": "ok", "value": "ada"})
    assert results(code.finish(message_id)[1]) == ["'ada'"]


def test_interrupt(code: VSCode):
    message_id = code.start("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    code.wait_for(lambda c, m: m["msg_type"] == "stream" and parent_of(m) == message_id, 60)
    assert code.ask("control", "interrupt_request", {}, INTERRUPTED_WITHIN_S)["status"] == "ok"
    reply, _ = code.finish(message_id)
    assert reply["ename"] == "KeyboardInterrupt"


def test_stopping_frees_the_gpu_in_the_middle_of_a_cell(code: VSCode):
    message_id = code.start("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    code.wait_for(lambda c, m: m["msg_type"] == "stream" and parent_of(m) == message_id, 60)
    assert held_gpus(code.environment) == 1
    code.stop()
    wait_until(lambda: held_gpus(code.environment) == 0, within_s=5)


def test_a_restart_is_a_new_process_with_a_new_connection_file(own_environment: dict[str, str], tmp_path: Path):
    with VSCode(own_environment, tmp_path) as before:
        before.run("x = 1")
    with VSCode(own_environment, tmp_path) as after:
        reply, _ = after.run("x")
        assert reply["ename"] == "NameError"
        assert reply["execution_count"] == 1
        assert held_gpus(own_environment) == 1, "the one before has given its own back"
