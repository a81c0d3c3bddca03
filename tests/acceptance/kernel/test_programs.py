"""Programs that execute notebooks and scripts without a person, with the GPU kernel as with Jupyter's own.

They find it by name, in the notebook's metadata or on their command line; python3 is there to know what is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pytest

from ..observing import held_gpus, wait_until
from ..test_frontends import run_program, saved, shown
from .front_end import GPU_KERNEL

KERNELS = ["python3", GPU_KERNEL]
CELLS = ["factor = 14", "print('printed')\nproduct = 3 * factor\nproduct", "import sys\nprint('said', file=sys.stderr)"]
RIGHT = [[], [("stream", "printed\n"), ("execute_result", "42")], [("stream", "said\n")]]
FAILING = ["print('before')\n1 / 0", "print('never')"]

pytestmark = pytest.mark.parametrize("kernel_name", KERNELS)


def write(path: Path, cells: Sequence[str], kernel_name: str) -> None:
    """A notebook of code cells which names its kernel; the first one holds the parameters."""
    spec = {"name": kernel_name, "display_name": kernel_name, "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": spec}
    )
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


PROGRAMS = {
    "nbconvert": ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--output", "out.ipynb", "in.ipynb"],
    "execute": ["jupyter", "execute", "--output", "out", "in.ipynb"],
    "papermill": ["papermill", "in.ipynb", "out.ipynb"],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_notebook_is_saved_with_its_outputs_and_nothing_else(
    program: str, kernel_name: str, environment: dict[str, str], tmp_path: Path
):
    write(tmp_path / "in.ipynb", CELLS, kernel_name)
    done = run_program(PROGRAMS[program], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    notebook = saved(tmp_path / "out.ipynb")
    assert [shown(cell.outputs) for cell in notebook.cells] == RIGHT
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3]
    assert notebook.cells[1].outputs[1].execution_count == 2
    assert notebook.metadata.kernelspec.name == kernel_name


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_failing_cell_fails_the_program(program: str, kernel_name: str, environment: dict[str, str], tmp_path: Path):
    write(tmp_path / "in.ipynb", FAILING, kernel_name)
    done = run_program(PROGRAMS[program], environment, tmp_path)
    assert done.returncode == 1, done.stderr
    assert "ZeroDivisionError: division by zero" in uncoloured(done.stderr)
    if program == "papermill":  # which alone saves what there was until then
        notebook = saved(tmp_path / "out.ipynb")
        failed, never = notebook.cells[-2:]
        assert failed.metadata.papermill.exception is True
        assert shown(failed.outputs) == [("stream", "before\n"), ("error", "division by zero")]
        assert never.outputs == []


def test_papermill_takes_parameters_and_a_kernel(kernel_name: str, environment: dict[str, str], tmp_path: Path):
    """Whatever the notebook itself names."""
    write(tmp_path / "in.ipynb", CELLS, "python3")
    arguments = ["papermill", "in.ipynb", "out.ipynb", "-p", "factor", "7", "-k", kernel_name]
    done = run_program(arguments, environment, tmp_path)
    assert done.returncode == 0, done.stderr
    cells = saved(tmp_path / "out.ipynb").cells
    assert cells[1].metadata.tags == ["injected-parameters"]
    assert shown(cells[2].outputs) == [("stream", "printed\n"), ("execute_result", "21")]


def test_jupyter_run_prints_what_a_script_does(kernel_name: str, environment: dict[str, str], tmp_path: Path):
    (tmp_path / "script.py").write_text("import sys\nprint('printed')\nprint('said', file=sys.stderr)\n6 * 7\n")
    done = run_program(["jupyter", "run", "--kernel", kernel_name, "script.py"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "printed" in done.stdout
    assert "42" in done.stdout
    assert "said" in done.stderr


def test_jupyter_run_fails_where_the_script_does(kernel_name: str, environment: dict[str, str], tmp_path: Path):
    (tmp_path / "script.py").write_text("print('before')\nraise SystemError('odd')\n")
    done = run_program(["jupyter", "run", "--kernel", kernel_name, "script.py"], environment, tmp_path)
    assert done.returncode != 0
    assert "before" in done.stdout
    assert "SystemError" in done.stdout + done.stderr


def test_gpus_go_back_when_a_program_ends(kernel_name: str, own_environment: dict[str, str], tmp_path: Path):
    """At once, by the shutdown that it asks for; not after the time that an idle kernel has."""
    write(tmp_path / "in.ipynb", CELLS, kernel_name)
    for program in PROGRAMS:
        done = run_program(PROGRAMS[program], own_environment, tmp_path)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: held_gpus(own_environment) == 0, within_s=5)


def test_output_widgets_do_not_stop_a_notebook(kernel_name: str, environment: dict[str, str], tmp_path: Path):
    """nbclient loses replies that come while it answers such a widget: see kernel.bridge.WIDGETS_LEAD_S."""
    if kernel_name == "python3":
        pytest.skip("a local kernel stops there too, though rarely")
    cell = "out = widgets.Output()\nwith out:\n    print('inside')\n    display(7)\nprint('outside')"
    write(tmp_path / "in.ipynb", ["import ipywidgets as widgets", *[cell] * 20], kernel_name)
    done = run_program(PROGRAMS["execute"], environment, tmp_path)  # which ends the program after 60 s
    assert done.returncode == 0, done.stderr
    notebook = saved(tmp_path / "out.ipynb")
    assert [shown(cell.outputs) for cell in notebook.cells[1:]] == [[("stream", "outside\n")]] * 20
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    outputs = [state["state"]["outputs"] for state in states if state["model_name"] == "OutputModel"]
    assert [[o["output_type"] for o in shown_inside] for shown_inside in outputs] == [["stream", "display_data"]] * 20
