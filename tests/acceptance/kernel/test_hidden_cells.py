"""Hidden cells, as VS Code sends them: they attach nothing, break nothing, and hold in what the user runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .at_broker import leases_of, state_of
from .front_end import GPU_KERNEL, FrontEnd
from .hidden_cells import AT_START, HIDDEN, completion

pytestmark = pytest.mark.xdist_group("kernel-hidden-cells")


@pytest.fixture(params=["python3", GPU_KERNEL])
def fresh(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Iterator[FrontEnd]:
    with FrontEnd(request.param, environment, tmp_path) as kernel:
        yield kernel


def test_what_is_set_up_unseen_holds_in_the_first_cell(fresh: FrontEnd):
    for code in AT_START:
        cell = fresh.run(code, **HIDDEN)
        assert cell.ok
        assert cell.of("error") == []
    if fresh.is_gpu_kernel:
        assert state_of(fresh) in ("gone", "detached"), "they attached a GPU"
    cell = fresh.run("import sys\n'vscode' in sys.modules, __vsc_ipynb_file__, get_ipython().Completer.use_jedi")
    assert cell.result == "(True, '/notebooks/work.ipynb', False)"
    assert cell.reply["content"]["execution_count"] == 1
    if fresh.is_gpu_kernel:
        assert len(leases_of(fresh)) == 1


def test_it_holds_in_the_process_after_a_restart_by_command(environment: dict[str, str], tmp_path: Path):
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        for code in AT_START:
            kernel.run(code, **HIDDEN)
        assert kernel.run("x = 1").ok
        assert kernel.run("%gpu restart").ok
        assert kernel.run("__vsc_ipynb_file__, 'x' in dir()").result == "('/notebooks/work.ipynb', False)"


def test_a_completion_that_comes_after_its_cell_arrives(kernel: FrontEnd):
    kernel.run("completed_one = completed_two = 1")
    message_id = kernel.start(completion("completed_", "vscode-1"), **HIDDEN)
    cell = kernel.finish(message_id)
    assert [m["content"]["transient"] for m in cell.of("display_data")] == [{"display_id": "vscode-1"}]
    assert cell.of("update_display_data") == []
    late = kernel.wait_for(lambda m: m["msg_type"] == "update_display_data", "the completions")
    assert late["content"]["data"]["application/json"] == ["completed_one", "completed_two"]
    assert late["content"]["transient"] == {"display_id": "vscode-1"}


def test_the_variable_viewers_questions(kernel: FrontEnd):
    kernel.run("viewed = [1, 2, 3]")
    listed = kernel.run("%who_ls", **HIDDEN)
    assert "'viewed'" in (listed.result or "")
    found = kernel.ask("inspect_request", {"code": "viewed", "cursor_pos": 6, "detail_level": 0})["content"]
    assert "Length" in found["data"]["text/plain"]


def test_hidden_cells_of_a_released_kernel_leave_it_released(gpu_kernel: FrontEnd):
    gpu_kernel.run("z = 1")
    gpu_kernel.run("%gpu release")
    cell = gpu_kernel.run(completion("completed_", "vscode-2"), **HIDDEN)
    assert cell.ok
    assert (
        cell.reply["content"]["execution_count"] == gpu_kernel.run("# nothing").reply["content"]["execution_count"] - 1
    )
    assert state_of(gpu_kernel) == "suspended"
    assert gpu_kernel.run("z").of("display_data", "update_display_data") == [], "it was run after all"
