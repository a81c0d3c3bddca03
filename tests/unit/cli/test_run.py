"""``perijove run``: what it reads from options and the bill, and how it says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from perijove.cli.notebook_file import code_cells, read_notebook, write_notebook
from perijove.cli.notebook_run import Ending, Status, StreamJoiningClient
from perijove.cli.run import output_path, own_spec, summary
from perijove.cli.run_progress import cost_text, kernel_text
from perijove.cli.run_watch import cost_metadata
from perijove.wire.errors import UsageError
from perijove.wire.models import Bill, BillLine, GrantedGpus, KernelState, KernelView


def line(number: int, *, simulated: bool = False, gpu: str = "H100", count: int = 1, busy_ms: int = 1000) -> BillLine:
    return BillLine(
        id=f"lease-{number}",
        kernel="kernel-1",
        user="ada",
        gpu=gpu,
        count=count,
        agent="host-a",
        simulated=simulated,
        opened_at="2026-11-24T01:00:00.000Z",
        closed_at="2026-11-24T01:00:02.000Z",
        starting_ms=10,
        busy_ms=busy_ms,
        idle_ms=90,
        price_microdollars_per_second=1000,
        cost_nanodollars=1000 * count * (busy_ms + 100),
    )


def bill(*lines: BillLine) -> Bill:
    whole = Bill(total_nanodollars=0, simulated_nanodollars=0, leases=list(lines))
    return whole.of_kernels(["kernel-1"])


def view(state: KernelState, **more: Any) -> KernelView:
    return KernelView(id="kernel-1", name="perijove-run-1", state=state, gpu_spec="H100", **more)


def granted(*, simulated: bool = False, count: int = 1) -> GrantedGpus:
    uuids = [f"gpu-{index}" for index in range(count)]
    return GrantedGpus(
        model="H100", count=count, simulated=simulated, uuids=uuids, agent_id="agent-1", agent_name="host-a"
    )


# the cost -------------------------------------------------------------------------------------------------------------


def test_the_cost_of_a_run_is_the_sum_of_its_leases():
    cost = cost_metadata(bill(line(1), line(2, busy_ms=2000)))
    assert cost["cost_nanodollars"] == 1_100_000 + 2_100_000
    assert cost["currency"] == "USD"
    assert cost["simulated"] is False
    assert cost["gpu"] == "H100"
    assert cost["agent"] == "host-a"
    assert cost["seconds"] == {"starting": 0.02, "busy": 3.0, "idle": 0.18}
    assert [lease["id"] for lease in cost["leases"]] == ["lease-1", "lease-2"]


def test_simulated_dollars_are_said_to_be_simulated():
    cost = cost_metadata(bill(line(1, simulated=True)))
    assert cost["simulated"] is True
    assert cost["cost_nanodollars"] == 1_100_000


def test_simulated_dollars_are_never_in_a_sum_of_real_ones():
    cost = cost_metadata(bill(line(1, simulated=True), line(2, gpu="A100", count=2)))
    assert cost["simulated"] is False
    assert cost["cost_nanodollars"] == 2_200_000
    assert cost["gpu"] == "H100, A100:2"


def test_a_run_without_a_gpu_costs_nothing():
    cost = cost_metadata(bill())
    assert (cost["cost_nanodollars"], cost["simulated"], cost["gpu"], cost["leases"]) == (0, False, None, [])


def test_who_ran_it_stays_out_of_the_notebook():
    assert "ada" not in str(cost_metadata(bill(line(1))))


# what it says ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (None, "no GPU yet"),
        (view(KernelState.DETACHED), "no GPU"),
        (view(KernelState.QUEUED, queue_reason="waiting for H100: 2nd in line"), "waiting for H100: 2nd in line"),
        (view(KernelState.STARTING), "attaching H100"),
        (view(KernelState.ATTACHED, gpus=granted(simulated=True)), "H100 (simulated) on host-a"),
        (view(KernelState.ATTACHED, gpus=granted(count=2)), "2 × H100 on host-a"),
        (view(KernelState.SUSPENDED), "GPU released, variables kept"),
    ],
)
def test_where_the_kernel_stands(seen: KernelView | None, text: str):
    assert kernel_text(seen) == text


def test_the_cost_so_far():
    assert cost_text(None, 0) == ""
    assert cost_text(view(KernelState.ATTACHED), 3_900_000) == "$0.0039"
    simulated = view(KernelState.ATTACHED, spent_simulated_nanodollars=3_900_000)
    assert cost_text(simulated, 3_900_000) == "$0.0039 simulated"


def test_the_summary():
    ending = Ending(Status.OK, cost_metadata(bill(line(1, simulated=True))))
    assert summary(ending) == "H100 (simulated) on host-a · starting 0.0 s, busy 1.0 s, idle 0.1 s · $0.0011 simulated"
    assert summary(Ending(Status.OK, cost_metadata(bill()))) == "no GPU was used"


# where it goes --------------------------------------------------------------------------------------------------------


def test_outputs_go_beside_the_notebook_by_default(tmp_path: Path):
    assert output_path(tmp_path / "train.ipynb", None, inplace=False) == tmp_path / "train.out.ipynb"
    assert output_path(tmp_path / "train.ipynb", None, inplace=True) == tmp_path / "train.ipynb"


def test_the_notebook_itself_is_overwritten_only_when_asked(tmp_path: Path):
    notebook = tmp_path / "train.ipynb"
    notebook.write_text("{}")
    link = tmp_path / "link.ipynb"
    link.symlink_to(notebook)
    for same in (notebook, link, tmp_path / "." / "train.ipynb"):
        with pytest.raises(UsageError, match="--inplace"):
            output_path(notebook, same, inplace=False)
    with pytest.raises(UsageError, match="give one of them"):
        output_path(notebook, tmp_path / "other.ipynb", inplace=True)


def test_a_place_that_is_none_is_refused_before_anything_runs(tmp_path: Path):
    notebook = saved(tmp_path / "train.ipynb")
    with pytest.raises(UsageError, match="no place"):
        output_path(notebook, tmp_path / "missing" / "out.ipynb", inplace=False)
    with pytest.raises(UsageError, match="no place"):
        output_path(notebook, tmp_path, inplace=False)


# the notebook ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "spec"), [("perijove-h100-a100", "H100|A100"), ("perijove", "any"), ("python3", "any"), (None, "any")]
)
def test_without_gpu_it_is_what_the_notebook_was_saved_with(kernel: str | None, spec: str):
    notebook = nbformat.v4.new_notebook()
    if kernel is not None:
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
    assert str(own_spec(notebook)) == spec


def saved(path: Path, **metadata: Any) -> Path:
    output = nbformat.v4.new_output("stream", text="from last time")
    cells = [
        nbformat.v4.new_markdown_cell("# title"),
        nbformat.v4.new_code_cell("1 + 1", outputs=[output], execution_count=7),
        nbformat.v4.new_code_cell("  \n"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_outputs_of_earlier_runs_are_not_taken_for_this_one(tmp_path: Path):
    notebook = read_notebook(saved(tmp_path / "old.ipynb"))
    assert [(cell.outputs, cell.execution_count) for cell in notebook.cells[1:]] == [([], None), ([], None)]
    assert [cell.source for cell in code_cells(notebook)] == ["1 + 1"]


def test_a_notebook_in_another_language_is_refused(tmp_path: Path):
    path = saved(tmp_path / "r.ipynb", kernelspec={"name": "ir", "display_name": "R", "language": "R"})
    with pytest.raises(UsageError, match="written in R"):
        read_notebook(path)


def test_what_is_no_notebook_is_refused(tmp_path: Path):
    path = tmp_path / "text.ipynb"
    path.write_text("hello")
    with pytest.raises(UsageError, match="no notebook that can be read"):
        read_notebook(path)


def test_a_link_to_the_output_stays_a_link(tmp_path: Path):
    target, link = tmp_path / "real.ipynb", tmp_path / "link.ipynb"
    link.symlink_to(target)
    write_notebook(read_notebook(saved(tmp_path / "in.ipynb")), link)
    assert link.is_symlink()
    assert nbformat.read(target, 4).cells[1].source == "1 + 1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ipynb", "link.ipynb", "real.ipynb"]


def test_text_that_follows_on_one_stream_becomes_one_output():
    client = StreamJoiningClient(nbformat.v4.new_notebook())
    client.clear_before_next_output = False  # set when a cell begins
    outputs: list[Any] = []

    def arrives(message_type: str, **content: Any) -> None:
        message = {"msg_type": message_type, "header": {"msg_type": message_type}, "parent_header": {"msg_id": "1"}}
        client.output(outputs, message | {"content": content, "metadata": {}}, None, 0)

    for text in ("a", "b"):
        arrives("stream", name="stdout", text=text)
    arrives("stream", name="stderr", text="c")
    arrives("display_data", data={"text/plain": "d"}, metadata={})
    for text in ("e", "f", "g"):
        arrives("stream", name="stdout", text=text)
    client.join_streams()
    shown = [output.get("text") or output.data["text/plain"] for output in outputs]
    assert shown == ["ab", "c", "d", "efg"]
