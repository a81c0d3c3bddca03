"""The kernel's process, with no broker anywhere: it is ready at once, and ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.session import Session
from perijove.kernel.settings import read_connection

from .kernel_process import CHANNELS, KEY, KernelProcess, answer_of, environment_of, output_of, running


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    with running(tmp_path) as kernel:
        yield kernel


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[KernelProcess]:
    kernel = KernelProcess(tmp_path / "kernel.json", environment_of(tmp_path))
    yield kernel
    if kernel.process is not None and kernel.process.poll() is None:
        kernel.end(signal.SIGKILL)


# ready at once ----------------------------------------------------------------------------------------------------


def test_kernel_info_is_answered_with_no_broker_anywhere_and_starts_none(kernel: KernelProcess, tmp_path: Path) -> None:
    client = kernel.client
    assert client is not None
    reply = answer_of(client, client.kernel_info())
    assert reply["content"]["status"] == "ok"
    assert reply["content"]["language_info"]["name"] == "python"
    control = client.session.msg("kernel_info_request")
    client.control_channel.send(control)
    answer = client.get_control_msg(timeout=10)
    assert answer["parent_header"]["msg_id"] == control["header"]["msg_id"]
    time.sleep(1)  # it has looked for a broker by now
    assert not (tmp_path / "data" / "embedded" / "broker.json").exists()


def test_busy_and_idle_surround_an_answer_on_iopub(kernel: KernelProcess) -> None:
    client = kernel.client
    assert client is not None
    states = [m["content"]["execution_state"] for m in output_of(client, client.kernel_info())]
    assert states == ["busy", "idle"]


def test_nothing_slow_is_imported_before_the_ports_listen() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, perijove.kernel.__main__; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    slow = {"asyncio", "httpx", "websockets", "pydantic", "IPython", "ipykernel", "jupyter_client", "tornado"}
    assert slow & set(done.stdout.split()) == set()


def test_the_first_answer_needs_no_heavy_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, perijove.kernel.program; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    slow = {"httpx", "websockets", "pydantic", "IPython", "ipykernel", "jupyter_client", "tornado", "traitlets"}
    assert slow & set(done.stdout.split()) == set()


@pytest.mark.parametrize("file", [{"ip": "::1"}, {f"{name}_port": 0 for name in CHANNELS}])
def test_other_addresses(unstarted: KernelProcess, file: dict[str, Any]) -> None:
    given = unstarted.write_file(**file)
    unstarted.start()
    assert told(unstarted, given) == "ok"
    assert unstarted.end() == (0, "")


def test_unix_sockets_and_nothing_of_them_left(unstarted: KernelProcess, tmp_path: Path) -> None:
    given = unstarted.write_file(transport="ipc", ip=str(tmp_path / "k"), **{f"{name}_port": 0 for name in CHANNELS})
    unstarted.start()
    assert told(unstarted, given) == "ok"
    assert len(list(tmp_path.glob("k-*"))) == 5
    unstarted.end()
    assert list(tmp_path.glob("k-*")) == []


def test_encrypted_sockets(unstarted: KernelProcess) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    given = unstarted.write_file(curve_publickey=public, curve_secretkey=secret)
    unstarted.start()
    assert told(unstarted, given, curve=(public.encode(), secret.encode())) == "ok"
    assert told(unstarted, given, within_s=1.0) is None, "one without the key was heard"


def test_a_connection_file_that_is_not_there_is_made_and_removed(unstarted: KernelProcess) -> None:
    unstarted.start()
    assert told(unstarted, {}) == "ok"
    assert unstarted.file.stat().st_mode & 0o777 == 0o600
    unstarted.end()
    assert not unstarted.file.exists()


def told(
    kernel: KernelProcess, given: dict[str, Any], *, curve: tuple[bytes, bytes] | None = None, within_s: float = 20.0
) -> str | None:
    """The status of a ``kernel_info_reply``, asked at the ports in the connection file once they are there."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            document = json.loads(kernel.file.read_text())
        except (OSError, ValueError):
            document = given
        if document.get("shell_port"):
            break
        time.sleep(0.01)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger, socket.ipv6 = 0, True
        if curve is not None:
            socket.curve_publickey, socket.curve_secretkey = curve
            socket.curve_serverkey = curve[0]
        connection = read_connection(kernel.file)
        socket.connect(connection.address("shell"))
        session = Session(key=document["key"].encode())
        session.send(socket, "kernel_info_request", {})
        if not socket.poll(int(1000 * (deadline - time.monotonic()))):
            return None
        _, reply = session.recv(socket, 0)
        return str(reply["content"]["status"])


def test_arguments_that_mean_nothing_are_tolerated_and_told(unstarted: KernelProcess) -> None:
    given = unstarted.write_file()
    unstarted.arguments = ["--gpu", "any", "--debug", "--IPKernelApp.matplotlib=inline"]
    unstarted.start()
    assert told(unstarted, given) == "ok"
    status, said = unstarted.end()
    assert status == 0
    assert "--debug --IPKernelApp.matplotlib=inline" in said


def test_a_port_that_is_taken_is_told_with_its_channel(unstarted: KernelProcess) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        unstarted.write_file(iopub_port=port)
        unstarted.start()
        assert unstarted.process is not None
        unstarted.process.wait(20)
    status, said = unstarted.end()
    assert status == 1
    assert "iopub" in said
    assert str(port) in said
    assert "Traceback" not in said


def test_a_missing_argument_is_wrong_usage(unstarted: KernelProcess) -> None:
    done = subprocess.run([sys.executable, "-m", "perijove.kernel"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


# heartbeat and signatures -----------------------------------------------------------------------------------------


def test_the_heartbeat_echoes_what_it_is_sent(kernel: KernelProcess) -> None:
    document = json.loads(kernel.file.read_text())
    with zmq.Context() as context, context.socket(zmq.REQ) as heart:
        heart.linger = 0
        heart.connect(f"tcp://127.0.0.1:{document['hb_port']}")
        for number in range(1000):
            heart.send(b"beat %d" % number)
            assert heart.poll(5000)
            assert heart.recv() == b"beat %d" % number


def test_who_has_not_the_key_is_not_heard_and_nothing_breaks(kernel: KernelProcess) -> None:
    document = json.loads(kernel.file.read_text())
    client = kernel.client
    assert client is not None
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{document['shell_port']}")
        Session(key=b"another key").send(socket, "kernel_info_request", {})
        Session(key=b"").send(socket, "kernel_info_request", {})
        socket.send_multipart([b"no message"])
        session = Session(key=KEY.encode())
        message = session.serialize(session.msg("kernel_info_request"))
        socket.send_multipart(message)
        socket.send_multipart(message)
        assert answer_of(client, client.kernel_info())["content"]["status"] == "ok"
        assert socket.poll(5000)
        _, reply = session.recv(socket, 0)
        assert reply["msg_type"] == "kernel_info_reply"
        assert not socket.poll(300), "a message without the key, or a repeat, was answered"
    _, said = kernel.end()
    assert said.count("was refused") == 4


# the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_properly(kernel: KernelProcess, signum: int) -> None:
    assert kernel.end(signum) == (0, "")


def test_sigint_is_no_end(kernel: KernelProcess) -> None:
    client = kernel.client
    assert client is not None
    assert kernel.process is not None
    kernel.process.send_signal(signal.SIGINT)
    assert answer_of(client, client.kernel_info())["content"]["status"] == "ok"
    assert kernel.process.poll() is None


@pytest.mark.parametrize("restart", [False, True])
def test_a_shutdown_request_is_answered_before_the_end(kernel: KernelProcess, restart: bool) -> None:
    client = kernel.client
    assert client is not None
    request = client.session.msg("shutdown_request", {"restart": restart})
    client.control_channel.send(request)
    reply = client.get_control_msg(timeout=10)
    assert reply["msg_type"] == "shutdown_reply"
    assert reply["content"] == {"status": "ok", "restart": restart}
    assert [m["msg_type"] for m in output_of(client, request["header"]["msg_id"])][1] == "shutdown_reply"
    assert kernel.process is not None
    assert kernel.process.wait(10) == 0


def test_it_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    kernel = KernelProcess(tmp_path / "kernel.json", environment_of(tmp_path))
    given = kernel.write_file()
    starter = (
        "import subprocess, sys, time\n"
        "process = subprocess.Popen([sys.executable, '-m', 'perijove.kernel', '-f', sys.argv[1]])\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(kernel.file)], env=kernel.environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert told(kernel, given) == "ok"
        parent.kill()
    deadline = time.monotonic() + 15
    while is_running(pid):
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_two_kernels_of_one_user_do_not_know_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    environment = environment_of(tmp_path)
    with running(tmp_path / "a", environment) as one, running(tmp_path / "b", environment) as other:
        assert one.client is not None
        assert other.client is not None
        session = answer_of(one.client, one.client.kernel_info())["header"]["session"]
        assert answer_of(other.client, other.client.kernel_info())["header"]["session"] != session
        assert answer_of(one.client, one.client.kernel_info())["header"]["session"] == session
