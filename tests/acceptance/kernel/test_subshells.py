"""Subshells (JEP 91): cells and comms beside a cell that blocks; for front-ends they outlive the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .front_end import FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-subshells")


@pytest.fixture
def subshell(kernel: FrontEnd) -> Iterator[str]:
    content = kernel.ask("create_subshell_request", channel="control")["content"]
    assert content["status"] == "ok"
    yield content["subshell_id"]
    kernel.ask("delete_subshell_request", {"subshell_id": content["subshell_id"]}, channel="control")


def listed(kernel: FrontEnd) -> list[str]:
    return list(kernel.ask("list_subshell_request", channel="control")["content"]["subshell_id"])


def started_in(kernel: FrontEnd, subshell_id: str, code: str) -> str:
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return kernel.send("execute_request", content | {"stop_on_error": True}, subshell_id=subshell_id)


def test_they_are_announced_created_listed_and_deleted(kernel: FrontEnd):
    assert "kernel subshells" in kernel.ask("kernel_info_request")["content"]["supported_features"]
    assert listed(kernel) == []
    created = [kernel.ask("create_subshell_request", channel="control")["content"]["subshell_id"] for _ in range(2)]
    assert sorted(listed(kernel)) == sorted(created)
    for subshell_id in created:
        answer = kernel.ask("delete_subshell_request", {"subshell_id": subshell_id}, channel="control")
        assert answer["content"]["status"] == "ok"
    assert listed(kernel) == []


def test_one_that_is_not_there_cannot_be_deleted(kernel: FrontEnd):
    answer = kernel.ask("delete_subshell_request", {"subshell_id": "odd"}, channel="control")
    assert answer["content"]["status"] == "error"


def test_a_cell_runs_beside_one_that_blocks_and_shares_its_variables(kernel: FrontEnd, subshell: str):
    code = "import threading\nend = threading.Event()\nprint('waits', flush=True)\nprint('over', end.wait(30))"
    main = kernel.start(code)
    kernel.wait_for_text(main, "waits")
    beside = kernel.finish(started_in(kernel, subshell, "print('beside'); end.set(); 6 * 7"))
    assert beside.ok
    assert beside.stdout == "beside\n"
    assert beside.result == "42"
    assert kernel.reply(main)["content"]["status"] == "ok"


def test_a_subshell_outlives_the_process(gpu_kernel: FrontEnd):
    """JupyterLab makes its subshells once, when it connects."""
    subshell = gpu_kernel.ask("create_subshell_request", channel="control")["content"]["subshell_id"]
    assert gpu_kernel.finish(started_in(gpu_kernel, subshell, "import os; x = os.getpid()")).ok
    assert gpu_kernel.run("%gpu restart").ok
    assert listed(gpu_kernel) == [subshell]
    assert gpu_kernel.run("'x' in dir()").result == "False"
    main = gpu_kernel.start("print('waits', flush=True); import threading; end = threading.Event(); end.wait(30)")
    gpu_kernel.wait_for_text(main, "waits")
    cell = gpu_kernel.finish(started_in(gpu_kernel, subshell, "import time; time.sleep(0.1); end.set(); 'beside'"))
    assert cell.result == "'beside'"
    assert gpu_kernel.finish(main).ok


def test_a_subshell_outlives_a_release(gpu_kernel: FrontEnd):
    gpu_kernel.run("y = 7")
    subshell = gpu_kernel.ask("create_subshell_request", channel="control")["content"]["subshell_id"]
    assert gpu_kernel.finish(started_in(gpu_kernel, subshell, "y += 1")).ok
    assert gpu_kernel.run("%gpu release").ok
    assert subshell in listed(gpu_kernel)
    assert gpu_kernel.finish(started_in(gpu_kernel, subshell, "y")).result == "8"
