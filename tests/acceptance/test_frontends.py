"""``%%gpu`` cells in the programs that execute notebooks without a person: what is saved and raised.

The notebook they are given is the same for all; terminals are in test_terminal.py, browsers in jupyterlab/.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
MIXED = [
    "%load_ext perijove",
    "factor = 14",
    "%%gpu H100\nprint('over there')\nproduct = 3 * factor\nproduct",
    "print('here', product)",
]


def notebook_of(cells: Sequence[str], tags: Sequence[str] = ()) -> nbformat.NotebookNode:
    """A notebook of code cells; the second one has the tags."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=PYTHON)
    if tags:
        notebook.cells[1].metadata["tags"] = list(tags)
    return notebook


def execute(
    cells: Sequence[str], environment: dict[str, str], directory: Path, **options: Any
) -> nbformat.NotebookNode:
    """Execute with nbclient; the notebook, with its outputs, is what it would save."""
    notebook = notebook_of(cells)
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(directory)}}, **options)
    client.execute(env=environment)
    nbformat.validate(notebook)
    return notebook


def run_program(
    arguments: Sequence[str], environment: dict[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    """Run one; again where the local kernel found one of its ports taken, which jupyter_client had seen free.

    A port that was free when a front-end looked can be anybody's outgoing connection when its kernel binds it.
    """
    command = [sys.executable, "-m", *arguments]
    for _ in range(3):
        done = subprocess.run(
            command, env=environment, cwd=directory, check=False, capture_output=True, text=True, timeout=60
        )
        if "ZMQError: Address already in use" not in done.stderr:
            break
    return done


def saved(path: Path) -> nbformat.NotebookNode:
    """A notebook that was saved, valid by the format's own schema."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def role(output: dict[str, Any]) -> str:
    return str(output.get("metadata", {}).get("perijove", {}).get("role", ""))


def shown(outputs: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each output's type, or role when it is ours, and its text."""
    found = []
    for output in outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "") or output.get("evalue", "")
        found.append((role(output) or output["output_type"], text))
    return found


def check_mixed(notebook: nbformat.NotebookNode) -> None:
    """The outputs of MIXED: the user's own in order, and the status line as the last one."""
    loaded, assigned, remote, local = notebook.cells
    assert loaded.outputs == assigned.outputs == []
    *own, (last, status) = shown(remote.outputs)
    assert own == [("stream", "over there\n"), ("execute_result", "42")]
    assert last == "status"
    assert status.startswith("H100 (simulated) · ")
    facts = remote.outputs[-1].metadata.perijove
    assert facts.gpu == "H100 (simulated)"
    assert facts.simulated is True
    assert facts.cost_nanodollars > 0
    result = remote.outputs[-2]
    assert result.execution_count == remote.execution_count == 3
    assert shown(local.outputs) == [("stream", "here 42\n")]


# nbclient -----------------------------------------------------------------------------------------------------


def test_nbclient_saves_everything_that_a_cell_can_show(perijove_env: dict[str, str], tmp_path: Path):
    cells = [
        "%load_ext perijove\n%matplotlib inline",
        "%%gpu H100\nimport matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.title('squares')",
        "%%gpu H100\nfrom tqdm.notebook import tqdm\nfor _ in tqdm(range(3)):\n    pass",
        "%%gpu H100\nimport ipywidgets\nslider = ipywidgets.IntSlider(value=7)\nslider",
        "%%gpu H100\nhandle = display('first', display_id='kept')",
        "%%gpu H100\nhandle.update('second')",
        "from IPython.display import update_display\nupdate_display('third', display_id='kept')",
        "%%gpu H100\nprint('before')\n{}['missing']",
        "print('goes on')",
    ]
    notebook = execute(cells, perijove_env, tmp_path, allow_errors=True)
    _, plot, bar, slider, first, second, third, error, after = (cell.outputs for cell in notebook.cells)
    for outputs in (plot, bar, slider, first, second, error):
        assert role(outputs[-1]) == "status"
    assert [kind for kind, _ in shown(plot)] == ["execute_result", "display_data", "status"]
    assert plot[1].data["image/png"].startswith("iVBOR")

    widgets = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    kinds = {model_id: state["model_name"] for model_id, state in widgets.items()}
    assert kinds[bar[0].data["application/vnd.jupyter.widget-view+json"]["model_id"]] == "HBoxModel"
    (progress,) = (state["state"] for state in widgets.values() if state["model_name"] == "FloatProgressModel")
    assert progress["value"] == 3
    model_id = slider[0].data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert widgets[model_id]["state"]["value"] == 7

    assert shown(first)[0] == ("display_data", "'third'")  # shown over there, updated there, and then from here
    assert [kind for kind, _ in shown(second)] == ["status"]
    assert third == []
    assert [kind for kind, _ in shown(error)] == ["stream", "error", "status"]
    assert error[1].ename == "KeyError"
    assert shown(after) == [("stream", "goes on\n")]


def test_nbclient_stops_at_a_failing_cell_and_names_the_remote_error(perijove_env: dict[str, str], tmp_path: Path):
    cells = ["%load_ext perijove", "%%gpu H100\nclass Odd(Exception): pass\nraise Odd('over there')", "never = 1"]
    with pytest.raises(CellExecutionError) as failure:
        execute(cells, perijove_env, tmp_path)
    assert failure.value.ename == "Odd"
    assert failure.value.evalue == "over there"
    assert "raise Odd('over there')" in str(failure.value)
    assert "run_cell_magic" not in str(failure.value)  # nothing of how it came here


def test_without_status_lines_a_notebook_has_the_users_outputs_alone(perijove_env: dict[str, str], tmp_path: Path):
    notebook = execute(MIXED, perijove_env | {"PERIJOVE_STATUS": "0"}, tmp_path)
    assert shown(notebook.cells[2].outputs) == [("stream", "over there\n"), ("execute_result", "42")]


# papermill, nbconvert, jupyter execute, jupyter run -------------------------------------------------------------


def test_papermill_injects_parameters_that_a_cell_uses(perijove_env: dict[str, str], tmp_path: Path):
    nbformat.write(notebook_of(MIXED, tags=["parameters"]), tmp_path / "in.ipynb")
    done = run_program(["papermill", "in.ipynb", "out.ipynb", "-p", "factor", "7"], perijove_env, tmp_path)
    assert done.returncode == 0, done.stderr
    cells = saved(tmp_path / "out.ipynb").cells
    assert cells[2].metadata.tags == ["injected-parameters"]
    assert shown(cells[3].outputs)[:2] == [("stream", "over there\n"), ("execute_result", "21")]
    assert role(cells[3].outputs[-1]) == "status"
    assert shown(cells[4].outputs) == [("stream", "here 21\n")]


def test_papermill_fails_with_the_remote_error_and_saves_it(perijove_env: dict[str, str], tmp_path: Path):
    cells = ["%load_ext perijove", "%%gpu H100\nprint('before')\n1 / 0", "print('never')"]
    nbformat.write(notebook_of(cells), tmp_path / "in.ipynb")
    done = run_program(["papermill", "in.ipynb", "out.ipynb"], perijove_env, tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    notebook = saved(tmp_path / "out.ipynb")
    failed = next(cell for cell in notebook.cells if cell.source.startswith("%%gpu"))
    assert failed.metadata.papermill.exception is True
    assert [kind for kind, _ in shown(failed.outputs)] == ["stream", "error", "status"]
    assert notebook.cells[-1].outputs == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--output", "out.ipynb", "in.ipynb"],
        ["jupyter", "execute", "--output", "out", "in.ipynb"],
    ],
    ids=["nbconvert", "execute"],
)
def test_jupyters_own_programs_save_the_outputs(arguments: list[str], perijove_env: dict[str, str], tmp_path: Path):
    nbformat.write(notebook_of(MIXED), tmp_path / "in.ipynb")
    done = run_program(arguments, perijove_env, tmp_path)
    assert done.returncode == 0, done.stderr
    check_mixed(saved(tmp_path / "out.ipynb"))


def test_jupyter_run_prints_what_a_script_does_over_there(perijove_env: dict[str, str], tmp_path: Path):
    script = (
        "shell = get_ipython()\n"
        "shell.run_line_magic('load_ext', 'perijove')\n"
        "shell.run_cell_magic('gpu', 'H100', 'answer = 6 * 7\\nprint(\"over there\", answer)')\n"
        "print('here', answer)\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = run_program(["jupyter", "run", "script.py"], perijove_env, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["over there 42", "here 42"]
    assert lines[2].startswith("H100 (simulated) · ")
