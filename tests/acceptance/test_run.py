"""``perijove run``: a notebook from a terminal, through the GPU kernel, on simulated GPUs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.notebooknode import NotebookNode

from .conftest import perijove
from .observing import held_gpus, wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gpu_kernel.ipynb"


@pytest.fixture
def write(tmp_path: Path):
    """Writes a notebook of these cells; returns its path."""

    def write_cells(*sources: str) -> Path:
        path = tmp_path / "work.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources]), path)
        return path

    return write_cells


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perijove.cli", "run", *map(str, arguments)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


@contextmanager
def running(environment: dict[str, str], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "perijove.cli", "run", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def texts(cell: NotebookNode) -> list[str]:
    """What a cell shows: text of streams, results and displays, names of errors."""
    shown = []
    for output in cell.outputs:
        match output.output_type:
            case "stream":
                shown.append(output.text)
            case "error":
                shown.append(output.ename)
            case _:
                shown.append(output.data["text/plain"])
    return shown


def billed(environment: dict[str, str], metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The leases of a run, as ``perijove bill --json`` has them."""
    bill = json.loads(perijove(environment, "bill", "--json"))
    ids = {lease["id"] for lease in metadata["leases"]}
    return [lease for lease in bill["leases"] if lease["id"] in ids]


def test_a_notebook_runs_and_its_cost_is_the_bills(perijove_env: dict[str, str], write, tmp_path: Path):
    notebook = write("x = 20 + 1\nprint('begun')", "import time; time.sleep(0.5)\nx * 2", "%gpu", "x")
    before = notebook.read_bytes()
    done = run(perijove_env, notebook, "--gpu", "H100", "-o", tmp_path / "done.ipynb")
    assert done.returncode == 0, done.stderr
    assert notebook.read_bytes() == before
    ran = read(tmp_path / "done.ipynb")
    assert texts(ran.cells[0]) == ["begun\n"]
    assert texts(ran.cells[1]) == ["42"]
    assert "H100 (simulated)" in "".join(texts(ran.cells[2]))
    assert texts(ran.cells[3]) == ["21"]
    assert [cell.execution_count for cell in ran.cells] == [1, 2, 3, 4]
    facts = ran.metadata["perijove"]
    assert facts["status"] == "ok"
    assert facts["asked"] == facts["gpu"] == "H100"
    assert facts["simulated"] is True
    assert facts["currency"] == "USD"
    leases = billed(perijove_env, facts)
    assert len(leases) == len(facts["leases"]) == 1
    assert facts["cost_nanodollars"] == leases[0]["cost_nanodollars"] > 0
    assert facts["agent"] == leases[0]["agent"]
    assert facts["seconds"] == {state: leases[0][f"{state}_ms"] / 1000 for state in ("starting", "busy", "idle")}
    assert facts["seconds"]["busy"] >= 0.5
    assert leases[0]["closed_at"] is not None
    receipt = json.loads(perijove({}, "bill", str(tmp_path / "done.ipynb"), "--json"))  # without any broker
    assert receipt["simulated_nanodollars"] == facts["simulated_nanodollars"] == leases[0]["cost_nanodollars"]
    assert receipt["leases"] == [
        {name: value for name, value in lease.items() if name not in ("kernel", "user")} for lease in leases
    ]
    by_notebook = json.loads(perijove(perijove_env, "bill", "--by", "notebook", "--json"))["groups"]
    (group,) = [group for group in by_notebook if group["key"] == str(notebook)]
    assert group["simulated_nanodollars"] == leases[0]["cost_nanodollars"]
    assert facts["started_at"] < facts["finished_at"]
    assert f"{tmp_path / 'done.ipynb'} · H100 (simulated) on " in done.stdout
    assert done.stdout.rstrip().endswith("simulated")


def test_the_gpu_is_free_afterwards(own_env: dict[str, str], write):
    done = run(own_env, write("1"), "--gpu", "H100")
    assert done.returncode == 0, done.stderr
    assert held_gpus(own_env) == 0


def test_a_failing_cell_ends_it_and_says_why(perijove_env: dict[str, str], write, tmp_path: Path):
    done = run(perijove_env, write("print('kept')", "{}['missing']", "print('never')"), "--gpu", "H100")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("perijove: cell 2 failed: KeyError: 'missing'")
    ran = read(tmp_path / "work.out.ipynb")
    assert [texts(cell) for cell in ran.cells] == [["kept\n"], ["KeyError"], []]
    assert ran.metadata["perijove"]["status"] == "error"
    assert ran.metadata["perijove"]["cost_nanodollars"] > 0


def test_errors_can_be_allowed(perijove_env: dict[str, str], write, tmp_path: Path):
    notebook = write("1/0", "print('on')")
    done = run(perijove_env, notebook, "--gpu", "H100", "--inplace", "--allow-errors")
    assert done.returncode == 0, done.stderr
    assert [texts(cell) for cell in read(notebook).cells] == [["ZeroDivisionError"], ["on\n"]]
    assert [path.name for path in tmp_path.iterdir()] == ["work.ipynb"]


def test_ctrl_c_interrupts_the_cell_keeps_what_there_is_and_frees_the_gpu(
    own_env: dict[str, str], write, tmp_path: Path
):
    output = tmp_path / "work.out.ipynb"
    cells = ("print('first')", "import time\nprint('second', flush=True)\nopen('begun', 'w').close()\ntime.sleep(600)")
    begun = tmp_path / "begun"
    cells = (cells[0], cells[1].replace("'begun'", repr(str(begun))), "print('never')")
    with running(own_env, write(*cells), "--gpu", "H100") as process:
        wait_until(begun.exists, within_s=60)
        assert texts(read(output).cells[0]) == ["first\n"], "outputs are written after every cell"
        assert read(output).metadata["perijove"]["status"] == "running"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped in cell 2" in said
    ran = read(output)
    assert [texts(cell) for cell in ran.cells] == [["first\n"], ["second\n", "KeyboardInterrupt"], []]
    assert ran.metadata["perijove"]["status"] == "interrupted"
    assert ran.metadata["perijove"]["cost_nanodollars"] > 0
    assert held_gpus(own_env) == 0


def test_no_such_gpu_is_said_in_one_line(perijove_env: dict[str, str], write):
    done = run(perijove_env, write("1"), "--gpu", "B200")
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("perijove: cell 1 failed: NoSuchGpu: ")
    assert "B200" in last
    assert done.stderr.count("NoSuchGpu") == 1


def test_ctrl_c_leaves_the_queue(own_env: dict[str, str], write, tmp_path: Path):
    begun = tmp_path / "begun"
    holding = write(f"open({str(begun)!r}, 'w').close()\nimport time; time.sleep(600)")
    with running(own_env, holding, "--gpu", "H100:2", "-o", tmp_path / "holding.ipynb") as holder:
        wait_until(begun.exists, within_s=60)
        with running(own_env, holding, "--gpu", "H100", "-o", tmp_path / "waiting.ipynb") as waiter:
            wait_until(lambda: "queued" in perijove(own_env, "status", "--json"))
            waiter.send_signal(signal.SIGINT)
            told, said = waiter.communicate(timeout=60)
        assert waiter.returncode == 130, said
        assert "no GPU was used" in told
        assert read(tmp_path / "waiting.ipynb").metadata["perijove"]["cost_nanodollars"] == 0
        holder.send_signal(signal.SIGTERM)
        _, said = holder.communicate(timeout=60)
    assert holder.returncode == 128 + signal.SIGTERM, said
    assert held_gpus(own_env) == 0


def test_many_prints_are_one_output(perijove_env: dict[str, str], write, tmp_path: Path):
    done = run(perijove_env, write("for n in range(20000): print(n, flush=True)"), "--gpu", "H100")
    assert done.returncode == 0, done.stderr
    shown = texts(read(tmp_path / "work.out.ipynb").cells[0])
    assert len(shown) == 1
    assert shown[0].split() == [str(n) for n in range(20000)]


def test_the_example_runs(perijove_env: dict[str, str], tmp_path: Path):
    notebook = Path(shutil.copy(EXAMPLE, tmp_path))
    done = run(perijove_env, notebook)
    assert done.returncode == 0, done.stderr
    ran = read(tmp_path / "gpu_kernel.out.ipynb")
    assert ran.metadata["perijove"]["asked"] == "H100"
    assert any("image/png" in output.get("data", {}) for cell in ran.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.ipynb"], "missing.ipynb"),
        (["work.ipynb", "-o", "work.ipynb"], "--inplace"),
        (["work.ipynb", "-o", "nowhere/out.ipynb"], "no place"),
        (["work.ipynb", "--gpu", "H100:0"], "write a GPU spec like"),
        (["text.ipynb"], "no notebook"),
    ],
)
def test_mistakes_in_the_command_are_told_before_anything_runs(
    arguments: list[str], said: str, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write("1")
    (tmp_path / "text.ipynb").write_text("hello")
    monkeypatch.chdir(tmp_path)
    done = run(dict(os.environ) | {"PERIJOVE_DATA": str(tmp_path / "data")}, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "data" / "embedded" / "broker.json").exists()
