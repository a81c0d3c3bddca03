"""A GPU kernel that has been quiet gives its GPU back, stays idle for its front-end, and goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..notebook_kernel import CellResult, role
from .at_broker import leases_of, state_of, wait_for_state
from .front_end import GPU_KERNEL, FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-release")


@pytest.fixture(scope="module")
def quick(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    """A kernel whose GPU goes back after a second."""
    directory = tmp_path_factory.mktemp("notebook")
    with FrontEnd(GPU_KERNEL, environment | {"PERIJOVE_IDLE_TIMEOUT_S": "1"}, directory) as kernel:
        yield kernel


def notices(cell: CellResult) -> list[str]:
    return [m["content"]["data"]["text/plain"] for m in cell.of("display_data") if role(m)]


def test_opening_a_notebook_attaches_nothing(environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        kernel.ask("complete_request", {"code": "pri", "cursor_pos": 3})
        kernel.ask("is_complete_request", {"code": "1"})
        assert kernel.run("# only a comment").ok
        assert kernel.run("%gpu").ok
        assert state_of(kernel) == "detached"
        assert leases_of(kernel) == []


def test_the_next_cell_resumes_with_its_variables_and_shows_nothing_of_it(quick: FrontEnd):
    assert quick.run("x = [1]; import os; process = os.getpid()").ok
    wait_for_state(quick, "suspended")
    assert quick.ask("kernel_info_request")["content"]["status"] == "ok"
    assert quick.ask("complete_request", {"code": "x", "cursor_pos": 1})["content"]["matches"] == []
    cell = quick.run("x.append(2)\nx, process == os.getpid()")
    assert cell.result == "([1, 2], True)"
    assert notices(cell) == []
    assert [m["msg_type"] for m in cell.messages] == ["status", "execute_input", "execute_result", "status"]
    assert len(leases_of(quick)) == 2


def test_numbers_history_and_results_go_on(quick: FrontEnd):
    first = quick.run("6 * 7").reply["content"]["execution_count"]
    wait_for_state(quick, "suspended")
    cell = quick.run("_ + 1")
    assert cell.result == "43"
    assert cell.reply["content"]["execution_count"] == first + 1
    assert quick.run(f"Out[{first}]").result == "42"


def test_a_cell_that_is_quiet_is_not_idle(quick: FrontEnd):
    assert quick.run("import time; time.sleep(2.5)").ok
    assert len(quick.run("process == os.getpid()").of("error")) == 0


def test_cells_sent_just_as_the_gpu_goes_back_all_run_once(quick: FrontEnd):
    """The idle release crosses the cells on their way."""
    quick.run("times = []")
    for n in range(6):
        assert quick.run(f"times.append({n})").ok
        time.sleep(0.9 + 0.04 * n)
    assert quick.run("times").result == "[0, 1, 2, 3, 4, 5]"
