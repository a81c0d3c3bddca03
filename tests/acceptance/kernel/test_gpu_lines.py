"""``%gpu`` lines in the GPU kernel: alone in a cell, and among code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .at_broker import found, state_of
from .front_end import GPU_KERNEL, FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-gpu-lines")


@pytest.fixture
def fresh(environment: dict[str, str], tmp_path: Path) -> Iterator[FrontEnd]:
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        yield kernel


def test_alone_they_need_no_gpu(fresh: FrontEnd):
    listed = fresh.run("%gpu list")
    assert "H100" in (listed.result or "")
    assert "<table" in listed.of("execute_result")[0]["content"]["data"]["text/html"]
    assert "%gpu attach" in fresh.run("# what is there?\n\n%gpu help").stdout
    assert fresh.run("%gpu bill").ok
    assert state_of(fresh) in ("gone", "detached"), "whether the broker ran when this kernel was started or not"
    assert fresh.run("1").reply["content"]["execution_count"] == 4


@pytest.mark.parametrize("place", ["{}", "before = 1\n{}"])
def test_a_receipt_is_an_output_that_front_ends_save(gpu_kernel: FrontEnd, place: str):
    assert gpu_kernel.run("1").ok
    cell = gpu_kernel.run(place.format("%gpu bill --embed"))
    (output,) = cell.of("execute_result")
    receipt = output["content"]["metadata"]["perijove"]
    assert receipt["role"] == "receipt"
    assert receipt["simulated_nanodollars"] > 0 == receipt["total_nanodollars"]
    assert receipt["leases"][0]["simulated"] is True
    assert "<svg" in output["content"]["data"]["text/html"]
    assert "cost by day" in output["content"]["data"]["text/plain"]
    assert gpu_kernel.run("%gpu bill").of("execute_result")[0]["content"]["metadata"] == {}


def test_attach_release_restart(fresh: FrontEnd):
    attached = fresh.run("%gpu attach")
    assert attached.stdout.startswith("H100 (simulated) attached in ")
    assert state_of(fresh) == "attached"
    assert fresh.run("x = 1").ok
    assert "variables kept" in fresh.run("%gpu release").stdout
    assert state_of(fresh) == "suspended"
    assert fresh.run("x").result == "1"
    assert fresh.run("%gpu restart").ok
    cell = fresh.run("x")
    assert cell.error.startswith("NameError")
    assert cell.of("display_data") == [], "it was wished for, so nothing is said to be lost"


def test_another_spec(fresh: FrontEnd):
    fresh.run("x = 1")
    assert "H100" in fresh.run("%gpu attach H100:2").stdout
    kernel = found(fresh)
    assert kernel is not None
    assert kernel["state"] == "attached"
    assert kernel["lease"]["count"] == 2
    assert fresh.run("x").result == "1"


@pytest.mark.parametrize("place", ["{}", "before = 1\n{}", "{}\nafter = 1", "if True:\n    {}"])
def test_a_line_means_the_same_alone_and_among_code(gpu_kernel: FrontEnd, place: str):
    cell = gpu_kernel.run(place.format("%gpu budget 7.50"))
    assert cell.ok, cell.error
    assert "of $7.5000 left" in cell.stdout
    wrong = gpu_kernel.run(place.format("%gpu nonsense"))
    assert wrong.error == "UsageError: %gpu: there is no command 'nonsense'; see %gpu help"
    assert len(wrong.of("error")) == 1


@pytest.mark.parametrize("place", ["{}", "before = 1\n{}"])
def test_a_months_budget_is_set_shown_and_removed(fresh: FrontEnd, place: str):
    cell = fresh.run(place.format("%gpu budget month 40"))
    assert cell.ok, cell.error
    assert "of $40.00 left" in cell.stdout
    assert "(set by you)" in cell.stdout
    assert "of $40.00 left" in fresh.run("%gpu budget").stdout
    assert "no budget" in fresh.run(place.format("%gpu budget month none")).stdout


def test_among_code_its_value_is_a_value(gpu_kernel: FrontEnd):
    cell = gpu_kernel.run("table = %gpu list\n'H100' in repr(table)")
    assert cell.result == "True"
    shown = gpu_kernel.run("y = 2\n%gpu")
    assert "H100 (simulated)" in (shown.result or "")
    assert "<table" in shown.of("execute_result")[0]["content"]["data"]["text/html"]


@pytest.mark.parametrize("line", ["release", "restart"])
def test_what_would_end_its_own_cell_is_refused_among_code(gpu_kernel: FrontEnd, line: str):
    gpu_kernel.run("kept = 1")
    cell = gpu_kernel.run(f"y = 2\n%gpu {line}")
    assert cell.error.startswith("UsageError")
    assert gpu_kernel.run("kept, y").result == "(1, 2)"


def test_a_gpu_cell_is_like_any_other_here(gpu_kernel: FrontEnd):
    assert gpu_kernel.run("%%gpu H100\nprint('there')\n6 * 7").result == "42"
    assert gpu_kernel.run("%%gpu A100\nprint('never')").error.startswith("NoSuchGpu: this cell asks for A100")
