"""``%gpu`` in a notebook that a person looks at: a table at once, and the panel once a front-end says it can draw it.

The front-end is this file.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

from .notebook_kernel import CellResult, NotebookKernel, role

VIEW = "application/vnd.jupyter.widget-view+json"


def watched(notebook: NotebookKernel, code: str) -> CellResult:
    return notebook.finish(notebook.start(code, allow_stdin=True))


def say_here(notebook: NotebookKernel, panel: str) -> None:
    content = {"comm_id": panel, "data": {"method": "custom", "content": {"here": True}}}
    notebook.client.shell_channel.send(notebook.client.session.msg("comm_msg", content))


def next_update(notebook: NotebookKernel, seconds: float) -> dict[str, Any] | None:
    while True:
        try:
            message = notebook.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return None
        if message["msg_type"] == "update_display_data":
            return dict(message)


def test_the_panel_joins_the_table_when_the_front_end_can_draw_it(notebook: NotebookKernel) -> None:
    notebook.run("%%gpu H100\nx = 1")
    cell = watched(notebook, "print('before')\n%gpu")
    (shown,) = cell.of("display_data")
    assert "attached" in shown["content"]["data"]["text/plain"]
    assert VIEW not in shown["content"]["data"], "nobody has said that it could be drawn"
    assert [message["msg_type"] for message in cell.of("stream", "display_data")] == ["stream", "display_data"]
    (opened,) = cell.of("comm_open")
    say_here(notebook, opened["content"]["comm_id"])
    later = next_update(notebook, 20)
    assert later is not None
    assert later["content"]["transient"] == shown["content"]["transient"]
    assert later["parent_header"]["msg_id"] == shown["parent_header"]["msg_id"]
    assert later["content"]["data"][VIEW]["model_id"] == opened["content"]["comm_id"]
    assert later["content"]["data"]["text/plain"] == shown["content"]["data"]["text/plain"]

    (shown,) = watched(notebook, "%gpu").of("display_data")
    assert VIEW in shown["content"]["data"], "at once, from now on"
    assert not watched(notebook, "%gpu").of("comm_open")
    say_here(notebook, opened["content"]["comm_id"])
    assert next_update(notebook, 1) is None, "it stands there"


def test_the_table_is_a_value_and_can_be_captured(notebook: NotebookKernel) -> None:
    notebook.run("%%gpu H100\nx = 1")
    assert not watched(notebook, "table = %gpu").of("display_data", "execute_result")
    assert notebook.run("print('attached' in repr(table))").stdout == "True\n"
    assert len(watched(notebook, "table").of("display_data")) == 1
    assert not watched(notebook, "%%capture taken\n%gpu").of("display_data", "execute_result")
    assert notebook.run("print('attached' in taken.outputs[0].data['text/plain'])").stdout == "True\n"


def test_a_program_that_runs_a_notebook_has_the_table_alone(notebook: NotebookKernel) -> None:
    notebook.run("%%gpu H100\nx = 1")
    cell = notebook.run("%gpu")
    assert "attached" in (cell.result or "")
    assert not [message for message in cell.messages if message["msg_type"] == "comm_open" or role(message)]
