"""A busy fleet: the cell waits in line, says where, and an interrupt leaves the line."""

from __future__ import annotations

from pathlib import Path

from .notebook_kernel import NotebookKernel, role


def test_the_third_notebook_waits_for_one_of_two_gpus(own_env: dict[str, str], tmp_path: Path):
    with (
        NotebookKernel(own_env, tmp_path) as first,
        NotebookKernel(own_env, tmp_path) as second,
        NotebookKernel(own_env, tmp_path) as third,
    ):
        for notebook in (first, second, third):
            notebook.run("%load_ext perijove")
        for notebook in (first, second):
            assert notebook.run("%%gpu H100\npass", timeout_s=60).ok
        cell = third.start("%%gpu H100\nprint('my turn')")
        shown = third.wait_for_display(cell, "waiting for H100")
        assert "1st in line" in shown
        assert "2 of 2 H100 in use" in shown
        first.run("%gpu release")
        result = third.finish(cell, timeout_s=10)
        assert result.stdout == "my turn\n"

        cell = first.start("%%gpu H100\nprint('never')")
        first.wait_for_display(cell, "waiting for H100")
        first.interrupt()
        left = first.finish(cell, timeout_s=10)
        assert left.error.startswith("AttachCancelled: stopped waiting for H100")
        assert "never" not in left.stdout
        second.run("%gpu release")
        assert first.run("%gpu").result is not None
        assert "attached" not in (first.run("%gpu").result or "")  # leaving the line was leaving it for good


def test_what_no_agent_has_fails_at_once_and_says_what_there_is(notebook: NotebookKernel):
    result = notebook.run("%%gpu B200\npass", timeout_s=10)
    assert result.error.startswith("NoSuchGpu: there is no B200 here")
    assert "simulated H100" in result.error
    assert not [message for message in result.messages if role(message) == "status"]
    assert notebook.run("%%gpu H100:3\npass", timeout_s=10).error.startswith("NoSuchGpu: ")


def test_two_specs_are_two_kernels(notebook: NotebookKernel):
    notebook.run("%%gpu H100\nwho = 'h100'\nimport os\nhere = os.getpid()")
    cpu = notebook.run("%%gpu cpu\nimport os\nprint(who, os.getpid() != here)")
    assert cpu.stdout == "h100 True\n"
    assert cpu.status_line.startswith("cpu · ")
    same = notebook.run("%%gpu cpu --kernel other\nimport os\nprint(os.getpid() != here)")
    assert same.stdout == "True\n"
    notebook.run("%gpu release")
