"""Cells through the kernel's process, on an embedded broker with simulated GPUs; and without one, in every way."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import httpx
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from .kernel_process import (
    Cell,
    KernelProcess,
    answer_of,
    environment_of,
    free_ports,
    kernels_at_broker,
    output_of,
    perijove,
    run_cell,
    running,
    until,
)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Of kernels that share an embedded broker with two simulated H100."""
    directory = Path(tempfile.mkdtemp(prefix="pj-"))  # short: ipc:// paths are limited
    environment = environment_of(directory) | {"PERIJOVE_SIMULATE": "H100:2", "IPYTHONDIR": str(directory / "ipython")}
    yield environment
    perijove(environment, "down")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def kernel(environment: dict[str, str], tmp_path: Path) -> Iterator[KernelProcess]:
    with running(tmp_path, environment) as kernel:
        yield kernel


def attached(environment: dict[str, str]) -> list[dict[str, Any]]:
    return [kernel for kernel in kernels_at_broker(environment) if kernel["state"] in ("attached", "starting")]


def result(cell: Cell) -> str:
    (shown,) = [m["content"]["data"]["text/plain"] for m in cell.messages if m["msg_type"] == "execute_result"]
    return str(shown)


# opening ----------------------------------------------------------------------------------------------------------


def test_opening_a_notebook_makes_a_kernel_that_costs_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    perijove(environment, "up", "--background")
    before = {kernel["id"] for kernel in kernels_at_broker(environment)}
    with running(tmp_path, environment):
        until(lambda: len(kernels_at_broker(environment)) == len(before) + 1, "the kernel is known at the broker")
        (ours,) = [kernel for kernel in kernels_at_broker(environment) if kernel["id"] not in before]
        assert ours["state"] == "detached"
    until(lambda: ours["id"] not in {kernel["id"] for kernel in kernels_at_broker(environment)}, "it is gone", 5)


def test_an_embedded_broker_that_was_stopped_is_not_started_for_an_open_notebook(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    environment = environment_of(directory) | {"PERIJOVE_SIMULATE": "H100"}
    try:
        perijove(environment, "up", "--background")
        with running(tmp_path, environment) as kernel:
            assert kernel.client is not None
            until(lambda: len(kernels_at_broker(environment)) == 1, "the kernel is known at the broker")
            perijove(environment, "down")
            time.sleep(3)
            assert not (directory / "data" / "embedded" / "broker.json").exists()
            assert result(run_cell(kernel.client, "1 + 1")) == "2"
    finally:
        perijove(environment, "down")
        shutil.rmtree(directory, ignore_errors=True)


# cells ------------------------------------------------------------------------------------------------------------


def test_a_cell_runs_and_its_variables_stay(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    assert run_cell(kernel.client, "x = 6; print('set')").text.endswith("set\n")
    cell = run_cell(kernel.client, "x * 7")
    assert result(cell) == "42"
    assert cell.count == 2


def test_everything_carries_one_session_and_its_request_as_parent(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    cell = run_cell(kernel.client, "print('a'); import sys; print('b', file=sys.stderr); 1")
    sessions = {message["header"]["session"] for message in [cell.reply, *cell.messages]}
    assert len(sessions) == 1
    assert {m["msg_type"] for m in cell.messages} >= {"status", "execute_input", "stream", "execute_result"}


def test_the_kernel_asks_the_front_end_that_ran_the_cell(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    other = kernel.connect()
    try:
        message_id = kernel.client.execute("print(input('name? '))")
        question = kernel.client.get_stdin_msg(timeout=30)
        assert question["content"]["prompt"] == "name? "
        kernel.client.input("Ada")
        assert answer_of(kernel.client, message_id)["content"]["status"] == "ok"
        with pytest.raises(Empty):
            other.get_stdin_msg(timeout=0.3)
    finally:
        other.stop_channels()


def test_a_flood_reaches_a_reader_that_comes_to_it_late(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    message_id = kernel.client.execute("for i in range(20000): print(i, flush=True)")
    assert answer_of(kernel.client, message_id, 100)["content"]["status"] == "ok"
    printed = "".join(
        m["content"]["text"] for m in output_of(kernel.client, message_id) if m["msg_type"] == "stream"
    ).split()
    assert printed == [str(number) for number in range(20000)]


def test_an_interrupt_is_not_held_up_by_a_reader_that_pauses(kernel: KernelProcess) -> None:
    """The cell's output is beyond all that may be held, so it waits in print; the interrupt passes."""
    assert kernel.client is not None
    run_cell(kernel.client, "text = 'x' * 100_000")
    message_id = kernel.client.execute("while True: print(text, flush=True)")
    time.sleep(5)
    reply = kernel.client.session.msg("interrupt_request")
    kernel.client.control_channel.send(reply)
    assert kernel.client.get_control_msg(timeout=5)["content"]["status"] == "ok"
    info = answer_of(kernel.client, kernel.client.kernel_info(), 5)
    assert info["content"]["status"] == "ok"
    assert kernel.client.hb_channel.is_beating()
    messages = output_of(kernel.client, message_id, 60)
    assert [m["content"]["ename"] for m in messages if m["msg_type"] == "error"] == ["KeyboardInterrupt"]


def test_a_cell_goes_on_when_its_front_end_leaves_in_the_middle_of_a_flood(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    run_cell(kernel.client, "text = 'x' * 100_000")
    kernel.client.execute("for number in range(3000): print(text, flush=True)")
    time.sleep(2)  # the reader pauses, and the cell waits for it
    kernel.client.stop_channels()
    kernel.client = kernel.connect()
    kernel.client.wait_for_ready(timeout=60)
    message_id = kernel.client.execute("number")
    messages = output_of(kernel.client, message_id, 60)  # reads on: the flood waits for the new reader, too
    assert result(Cell(answer_of(kernel.client, message_id), messages)) == "2999"


# %gpu lines -------------------------------------------------------------------------------------------------------


def test_gpu_lines_run_here_and_in_a_mixed_cell_over_there(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    assert "H100" in run_cell(kernel.client, "%gpu list").text
    assert "attached" in run_cell(kernel.client, "%gpu attach").text
    assert "H100" in run_cell(kernel.client, "y = 2\n%gpu status").text
    assert "variables kept" in run_cell(kernel.client, "%gpu release").text
    assert result(run_cell(kernel.client, "y")) == "2"


def test_a_line_that_fails_is_an_error_of_its_cell(kernel: KernelProcess) -> None:
    assert kernel.client is not None
    assert run_cell(kernel.client, "%gpu attach B200").error.startswith("NoSuchGpu: ")
    assert run_cell(kernel.client, "%gpu nonsense").error.startswith("UsageError: ")


# the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_frees_the_gpu_at_once(environment: dict[str, str], tmp_path: Path, signum: int) -> None:
    with running(tmp_path, environment) as kernel:
        assert kernel.client is not None
        run_cell(kernel.client, "1")
        assert len(attached(environment)) == 1
        assert kernel.end(signum) == (0, "")
    until(lambda: attached(environment) == [], "the GPU is free", 5)


def test_a_signal_frees_the_gpu_of_a_cell_that_runs(environment: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path, environment) as kernel:
        assert kernel.client is not None
        kernel.client.execute("print('runs'); import time; time.sleep(100)")
        until(lambda: len(attached(environment)) == 1, "the cell holds a GPU")
        kernel.end()
    until(lambda: attached(environment) == [], "the GPU is free", 10)


def test_a_signal_frees_the_gpu_while_a_reader_pauses(environment: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path, environment) as kernel:
        assert kernel.client is not None
        run_cell(kernel.client, "text = 'x' * 100_000")
        kernel.client.execute("while True: print(text, flush=True)")
        time.sleep(3)
        assert kernel.end() == (0, "")
    until(lambda: attached(environment) == [], "the GPU is free", 5)


def test_a_signal_takes_the_kernel_out_of_the_queue(environment: dict[str, str], tmp_path: Path) -> None:
    """Both GPUs are held, a third kernel waits."""
    directories = [tmp_path / name for name in "abc"]
    for directory in directories:
        directory.mkdir()
    with (
        running(directories[0], environment) as one,
        running(directories[1], environment) as two,
        running(directories[2], environment) as three,
    ):
        for holder in (one, two):
            assert holder.client is not None
            run_cell(holder.client, "1")
        assert three.client is not None
        three.client.execute("print('never')")
        until(lambda: "queued" in states(environment), "the third waits")
        three.end()
        until(lambda: "queued" not in states(environment), "it waits no more", 5)


def states(environment: dict[str, str]) -> list[str]:
    return [str(kernel["state"]) for kernel in kernels_at_broker(environment)]


def test_a_kernel_that_is_killed_frees_the_gpu_soon(environment: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path, environment) as kernel:
        assert kernel.client is not None
        run_cell(kernel.client, "1")
        kernel.end(signal.SIGKILL)
    until(lambda: attached(environment) == [], "the GPU is free", 30)


# restarts ---------------------------------------------------------------------------------------------------------


def test_a_restart_from_a_front_end_keeps_the_gpu_and_forgets_the_variables(
    environment: dict[str, str], tmp_path: Path
) -> None:
    manager = KernelManager(connection_file=str(tmp_path / "kernel.json"))
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "perijove.kernel", "-f", "{connection_file}", "--gpu", "H100"],
        language="python",
        interrupt_mode="message",
        display_name="GPU",
    )
    manager.start_kernel(env=environment, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        assert run_cell(client, "import os; x = 1; os.getpid()").error == ""
        (before,) = attached(environment)
        manager.restart_kernel(env=environment, cwd=str(tmp_path))
        client.wait_for_ready(timeout=30)
        cell = run_cell(client, "x")
        assert cell.error == "NameError: name 'x' is not defined"
        assert cell.count == 1
        (after,) = attached(environment)
        assert after["id"] == before["id"]
        assert leases(environment, before["id"]) == 1
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    until(lambda: attached(environment) == [], "the GPU is free", 5)


def leases(environment: dict[str, str], kernel_id: str) -> int:
    bill: dict[str, Any] = json.loads(perijove(environment, "bill", "--json"))
    return sum(line["kernel"] == kernel_id for line in bill["leases"])


# what goes wrong --------------------------------------------------------------------------------------------------


def test_a_broker_that_is_not_there_is_told_in_the_cell_and_the_next_one_finds_it(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    environment = environment_of(directory) | {"PERIJOVE_SIMULATE": "H100"}
    (port,) = free_ports(1)
    try:
        perijove(environment, "up", "--background", "--port", str(port))
        token = (directory / "data" / "embedded" / "token").read_text().strip()
        perijove(environment, "down")
        there = environment | {"PERIJOVE_URL": f"http://127.0.0.1:{port}", "PERIJOVE_TOKEN": token}
        with running(tmp_path, there) as kernel:
            assert kernel.client is not None
            for count in (1, 2):
                cell = run_cell(kernel.client, "1 + 1")
                assert cell.error.startswith("BrokerUnreachable: ")
                assert str(port) in cell.error
                assert cell.count == count
                assert [m["msg_type"] for m in cell.messages].count("error") == 1
            perijove(environment, "up", "--background", "--port", str(port))
            assert result(run_cell(kernel.client, "1 + 1")) == "2"
    finally:
        perijove(environment, "down")
        shutil.rmtree(directory, ignore_errors=True)


def test_a_gpu_that_does_not_exist_is_told_in_the_cell(environment: dict[str, str], tmp_path: Path) -> None:
    kernel = KernelProcess(tmp_path / "kernel.json", environment, ["--gpu", "B200"])
    kernel.write_file()
    kernel.start()
    client = kernel.connect()
    try:
        client.wait_for_ready(timeout=30)
        for _ in range(2):
            cell = run_cell(client, "1")
            assert cell.error.startswith("NoSuchGpu: ")
            assert "B200" in cell.error
    finally:
        client.stop_channels()
        kernel.end()


def test_a_spec_that_cannot_be_read_is_told_in_the_cell(environment: dict[str, str], tmp_path: Path) -> None:
    kernel = KernelProcess(tmp_path / "kernel.json", environment, ["--gpu", "H100:many"])
    kernel.write_file()
    kernel.start()
    client = kernel.connect()
    try:
        client.wait_for_ready(timeout=30)
        assert run_cell(client, "1").error.startswith("InvalidGpuSpec: ")
    finally:
        client.stop_channels()
        kernel.end()


def test_a_wrong_token_is_told_in_the_cell(environment: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path, environment) as first:
        assert first.client is not None
        run_cell(first.client, "1")
        url = json.loads((Path(environment["PERIJOVE_DATA"]) / "embedded" / "broker.json").read_text())["url"]
        wrong = environment | {"PERIJOVE_URL": url, "PERIJOVE_TOKEN": "wrong"}
        (tmp_path / "other").mkdir()
        with running(tmp_path / "other", wrong) as kernel:
            assert kernel.client is not None
            assert run_cell(kernel.client, "1").error.startswith("NotAuthorized: ")
            assert answer_of(kernel.client, kernel.client.kernel_info())["content"]["status"] == "ok"


def test_a_kernel_that_was_ended_at_the_broker_is_made_anew(environment: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path, environment) as kernel:
        assert kernel.client is not None
        run_cell(kernel.client, "x = 1")
        files = Path(environment["PERIJOVE_DATA"]) / "embedded"
        url, token = json.loads((files / "broker.json").read_text())["url"], (files / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        for held in attached(environment):
            httpx.delete(f"{url}/api/kernels/{held['id']}", headers=headers).raise_for_status()
        cell = run_cell(kernel.client, "x")
        assert cell.error == "NameError: name 'x' is not defined"
        assert "variables are lost" in cell.text
        assert result(run_cell(kernel.client, "3 + 3")) == "6"
