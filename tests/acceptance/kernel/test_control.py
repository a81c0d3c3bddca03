"""What must not wait for a cell: control, heartbeat; and the ends and new beginnings that go over control."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from ..observing import held_gpus, wait_until
from .at_broker import found, leases_of, state_of, wait_for_state
from .front_end import GPU_KERNEL, FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-control")


@contextmanager
def blocked(kernel: FrontEnd, code: str = "import time; time.sleep(100)") -> Iterator[str]:
    """While a cell runs."""
    message_id = kernel.start(f"print('begun', flush=True)\n{code}")
    kernel.wait_for_text(message_id, "begun")
    yield message_id
    kernel.interrupt()
    kernel.finish(message_id)


def test_control_is_answered_while_a_cell_blocks(kernel: FrontEnd):
    with blocked(kernel):
        info = kernel.ask("kernel_info_request", channel="control")["content"]
        assert info["status"] == "ok"
        assert info["language_info"]["name"] == "python"
        assert info["language_info"]["file_extension"] == ".py"
        debugging = kernel.ask("debug_request", debug_info(), channel="control")
        assert debugging["content"]["success"] is True
        assert debugging["content"]["body"]["isStarted"] is False


def debug_info() -> dict[str, object]:
    return {"type": "request", "seq": 1, "command": "debugInfo", "arguments": {}}


def test_a_gpu_kernel_answers_on_shell_too_while_a_cell_blocks(gpu_kernel: FrontEnd):
    with blocked(gpu_kernel):
        assert gpu_kernel.ask("kernel_info_request")["content"]["status"] == "ok"


@pytest.mark.parametrize("code", ["import time; time.sleep(100)", "while True: print('x' * 200, flush=True)"])
def test_the_heart_beats_while_a_cell_blocks_or_storms(kernel: FrontEnd, code: str):
    with blocked(kernel, code), zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{kernel.manager.hb_port}")
        for n in range(20):
            socket.send(b"%d" % n)
            assert socket.poll(5000), "no heartbeat within 5 s"
            assert socket.recv() == b"%d" % n


def test_usage_is_of_the_process_that_computes(kernel: FrontEnd):
    kernel.run("1")
    usage = kernel.ask("usage_request", channel="control")["content"]
    assert usage["kernel_memory"] > 0


def test_a_restart_keeps_the_lease_and_forgets_the_variables(environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        kernel.run("import os; x = 1")
        first = kernel.run("print(os.getpid())").stdout
        before = found(kernel)
        kernel.client.stop_channels()
        kernel.manager.restart_kernel(env=kernel.environment, cwd=str(tmp_path))
        kernel.client = kernel.connect()
        after = found(kernel)
        assert before is not None
        assert after is not None
        assert (after["id"], after["state"]) == (before["id"], "attached")
        cell = kernel.run("x")
        assert cell.error == "NameError: name 'x' is not defined"
        assert cell.reply["content"]["execution_count"] == 1
        assert kernel.run("import os; print(os.getpid())").stdout != first
        assert len(leases_of(kernel)) == 1


def test_a_restart_in_the_middle_of_a_cell(environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        message_id = kernel.start("print('begun', flush=True); import time; time.sleep(100)")
        kernel.wait_for_text(message_id, "begun")
        kernel.client.stop_channels()
        kernel.manager.restart_kernel(env=kernel.environment, cwd=str(tmp_path))
        kernel.client = kernel.connect()
        cell = kernel.run("1 + 1")
        assert (cell.result, cell.reply["content"]["execution_count"]) == ("2", 1)
        assert len(leases_of(kernel)) == 1


def test_a_restart_of_a_kernel_that_never_ran(environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        kernel.client.stop_channels()
        kernel.manager.restart_kernel(env=kernel.environment, cwd=str(tmp_path))
        kernel.client = kernel.connect()
        assert kernel.run("1 + 1").result == "2"


@pytest.mark.parametrize("restart", [False, True])
def test_a_shutdown_is_answered_on_control_and_told_on_iopub(
    restart: bool, environment: dict[str, str], tmp_path: Path
):
    kernel = FrontEnd(GPU_KERNEL, environment, tmp_path)
    kernel.__enter__()
    try:
        message_id = kernel.send("shutdown_request", {"restart": restart}, channel="control")
        told = kernel.output(message_id)
        assert [m["content"] for m in told if m["msg_type"] == "shutdown_reply"] == [
            {"status": "ok", "restart": restart}
        ]
        assert kernel.reply(message_id, channel="control")["content"] == {"status": "ok", "restart": restart}
        wait_until(lambda: not kernel.manager.is_alive(), 10)
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


def test_a_shutdown_frees_the_gpu_at_once(own_environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, own_environment, tmp_path) as kernel:
        assert kernel.run("1").ok
        assert state_of(kernel) == "attached"
        assert held_gpus(own_environment) == 1
    assert state_of(kernel) == "gone"
    wait_until(lambda: held_gpus(own_environment) == 0, 5)


def test_a_shutdown_in_the_middle_of_a_cell_frees_the_gpu(environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        message_id = kernel.start("print('begun', flush=True); import time; time.sleep(100)")
        kernel.wait_for_text(message_id, "begun")
    wait_for_state(kernel, "gone", within_s=10)
