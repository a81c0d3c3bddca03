"""``%gpu`` and ``%%gpu`` in a kernel that is on the GPU: what they take, and what they refuse."""

from __future__ import annotations

import pytest
from perijove.remote_agent.runtime.gpu_magics import HeldGpu, check_held, check_line, read_head, without_head
from perijove.wire.errors import InvalidGpuSpec, NoSuchGpu, UsageError
from perijove.wire.gpu_spec import parse_gpu_spec

H100 = HeldGpu("H100", 80 << 30)


@pytest.mark.parametrize(
    ("cell", "body"),
    [
        ("%%gpu H100 --in a\nx = 1\n", "x = 1\n"),
        ("\n  \n%%gpu\n%%time\nx\n", "%%time\nx\n"),
        ("%%gpus\nx\n", "%%gpus\nx\n"),
        ("x\n%%gpu\n", "x\n%%gpu\n"),
        ("", ""),
    ],
)
def test_a_cell_is_read_as_if_the_line_were_not_there(cell: str, body: str) -> None:
    assert "".join(without_head(cell.splitlines(keepends=True))) == body


@pytest.mark.parametrize("spec", ["H100", "h100", "A100|H100", "40GB", "any", "cpu"])
def test_what_is_held_will_do(spec: str) -> None:
    check_held(parse_gpu_spec(spec), [H100])


@pytest.mark.parametrize("spec", ["A100", "H100:2", "96GB", "any:2"])
def test_what_is_not_held_is_said_with_what_to_do(spec: str) -> None:
    with pytest.raises(NoSuchGpu, match=r"the kernel holds 1 × H100; run %gpu attach"):
        check_held(parse_gpu_spec(spec), [H100])


def test_fewer_than_there_are_will_do_and_none_are_called_none() -> None:
    check_held(parse_gpu_spec("H100"), [H100, H100])
    with pytest.raises(NoSuchGpu, match="holds no GPU"):
        check_held(parse_gpu_spec("any"), [])


def test_options_of_a_local_notebook_are_taken() -> None:
    head = read_head("H100:2 --in a,b --out y --keep z --no-vars --quiet --budget 5")
    assert (str(head.spec), head.budget) == ("H100:2", "5")


@pytest.mark.parametrize("line", ["--nonsense", "H100 A100", "'", "--kernel other", "--timeout 3"])
def test_what_means_nothing_here_and_would_mislead_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match=r"^%%gpu: "):
        read_head(line)


def test_a_spec_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidGpuSpec):
        read_head("H100::")


@pytest.mark.parametrize("line", ["release", "restart", "restart A100", "interrupt", "attach A100"])
def test_what_would_end_the_cell_it_is_in_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="in a cell of its own"):
        check_line(line)


@pytest.mark.parametrize("line", ["", "status", "bill --all", "attach", "budget 5", "help"])
def test_all_else_is_for_the_front(line: str) -> None:
    check_line(line)
