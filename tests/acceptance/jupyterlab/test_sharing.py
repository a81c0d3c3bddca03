"""Notebooks share one embedded broker; each has a remote kernel of its own."""

from __future__ import annotations

import json

import pytest

from .conftest import NewNotebook
from .server import JupyterLabServer

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]


async def test_two_notebooks_one_broker(new_notebook: NewNotebook, jupyterlab: JupyterLabServer) -> None:
    cells = ["%load_ext perijove", "%%gpu H100\nimport os\nmine = os.getpid()", "mine"]
    first = await new_notebook("first", cells)
    second = await new_notebook("second", cells)
    await first.run(0, 1, 2)
    await second.run(0, 1, 2)
    assert await first.text(2) != await second.text(2)
    commands = [" ".join(process.cmdline()) for process in jupyterlab.processes()]
    assert len([command for command in commands if command.endswith("perijove.cli up --embedded")]) == 1
    status = json.loads(jupyterlab.perijove("status", "--json"))
    assert [kernel["state"] for kernel in status["kernels"]].count("attached") == 2
    assert [gpu["simulated"] for agent in status["agents"] for gpu in agent["gpus"]] == [True, True]


async def test_closing_a_notebook_gives_its_gpu_back(new_notebook: NewNotebook, jupyterlab: JupyterLabServer) -> None:
    for name in ("one", "two", "three"):  # one more than there are GPUs
        notebook = await new_notebook(name, ["%load_ext perijove", f"%%gpu H100\n{name!r}"])
        await notebook.run(0, 1)
        assert await notebook.text(1) == repr(name)
        await notebook.close()
