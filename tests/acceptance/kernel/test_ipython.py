"""What a notebook's user has of IPython, the same in both kernels."""

from __future__ import annotations

import ast

import pytest

from ..notebook_kernel import CellResult
from .front_end import FrontEnd, is_idle, parent_of

pytestmark = pytest.mark.xdist_group("kernel-ipython")


def number_of(cell: CellResult) -> int:
    """The cell's number, the same wherever it is told."""
    numbers = {m["content"]["execution_count"] for m in [*cell.of("execute_input", "execute_result"), cell.reply]}
    assert len(numbers) == 1
    return int(numbers.pop())


# numbers and history ----------------------------------------------------------------------------------------------


def test_cells_are_numbered_one_after_the_other_whatever_becomes_of_them(kernel: FrontEnd):
    first = number_of(kernel.run("1"))
    assert number_of(kernel.run("1 / 0")) == first + 1
    assert number_of(kernel.run("# nothing")) == first + 2
    kernel.run("'hidden'", store_history=False)
    kernel.run("silent = 1", silent=True)
    assert number_of(kernel.run("3")) == first + 3
    assert number_of(kernel.run("4")) == first + 4


def test_in_out_and_the_last_results(kernel: FrontEnd):
    number = number_of(kernel.run("6 * 7"))
    assert kernel.run("_, __ is None").result.startswith("(42, ")
    assert kernel.run(f"In[{number}], Out[{number}], _{number}, _i{number}").result == "('6 * 7', 42, 42, '6 * 7')"
    assert kernel.run(f"%history -n {number}").stdout == f"{number:>4}: 6 * 7\n"


def test_a_traceback_names_the_cell_by_its_number(kernel: FrontEnd):
    number = number_of(kernel.run("def fails():\n    1 / 0"))
    cell = kernel.run("fails()")
    told = "\n".join(cell.of("error")[0]["content"]["traceback"])
    assert f"In[{number}]" in told
    assert f"In[{number + 1}]" in told


def test_user_expressions_come_with_the_reply(kernel: FrontEnd):
    cell = kernel.run("x = 20", user_expressions={"double": "x * 2", "odd": "unknown"})
    found = cell.reply["content"]["user_expressions"]
    assert found["double"]["data"]["text/plain"] == "40"
    assert found["odd"]["ename"] == "NameError"


def test_a_pager_and_a_next_input_come_as_payloads(kernel: FrontEnd):
    def payload_of(code: str) -> dict[str, object]:
        (payload,) = kernel.run(code).reply["content"]["payload"]
        return payload

    assert "Return the number of items" in str(payload_of("len?"))
    assert "Source:" in str(payload_of("import textwrap\ntextwrap.dedent??"))
    (kernel.directory / "loaded.py").write_text("answer = 42\n")
    loaded = payload_of(f"%load {kernel.directory / 'loaded.py'}")
    assert loaded["source"] == "set_next_input"
    assert "answer = 42" in str(loaded["text"])


# completion and inspection ----------------------------------------------------------------------------------------


def test_completion_and_inspection_know_the_variables(kernel: FrontEnd):
    kernel.run("a_long_name = {'key': 1}\ndef documented():\n    'What it is for.'")
    matches = kernel.ask("complete_request", {"code": "a_long", "cursor_pos": 6})["content"]
    assert matches["matches"] == ["a_long_name"]
    assert (matches["cursor_start"], matches["cursor_end"]) == (0, 6)
    found = kernel.ask("inspect_request", {"code": "documented", "cursor_pos": 10, "detail_level": 0})["content"]
    assert "What it is for." in found["data"]["text/plain"]
    source = kernel.ask("inspect_request", {"code": "documented", "cursor_pos": 10, "detail_level": 1})["content"]
    assert "Source:" in source["data"]["text/plain"]


# magics -----------------------------------------------------------------------------------------------------------


def test_time_measures_here_as_there(kernel: FrontEnd):
    cell = kernel.run("%%time\nx = 5\nx + 1")
    assert cell.result == "6"
    assert "Wall time" in cell.stdout


def test_files_are_written_and_commands_run(kernel: FrontEnd):
    path = kernel.directory / "written.txt"
    assert kernel.run(f"%%writefile {path}\nof a cell").stdout.startswith(("Writing", "Overwriting"))
    assert path.read_text() == "of a cell\n"
    word = kernel.run("word = 'there'\n!echo hello {word}\nlines = !echo captured\nlines[0]")
    assert word.stdout.replace("\r", "") == "hello there\n"
    assert word.result == "'captured'"
    assert kernel.run("%%bash\necho out; echo err >&2").stderr == "err\n"


def test_an_extension_is_loaded(kernel: FrontEnd):
    cell = kernel.run(
        "%load_ext autoreload\n%autoreload 2\n'autoreload' in str(get_ipython().extension_manager.loaded)"
    )
    assert cell.result == "True"


def test_top_level_await(kernel: FrontEnd):
    cell = kernel.run("import asyncio\nasync def later(): await asyncio.sleep(0.01); return 7\nawait later()")
    assert cell.result == "7"
    assert kernel.run("async with asyncio.timeout(5): print(await later())").stdout == "7\n"


def test_capture_keeps_output_in(kernel: FrontEnd):
    assert kernel.run("%%capture kept\nprint('inside')\ndisplay('shown')").messages[1:-1][1:] == []
    assert kernel.run("kept.stdout, len(kept.outputs)").result == "('inside\\n', 1)"


# output -----------------------------------------------------------------------------------------------------------


def test_the_streams_keep_apart_and_in_order(kernel: FrontEnd):
    code = "for n in range(3):\n    print('out', n, flush=True)\n    print('err', n, file=sys.stderr, flush=True)"
    cell = kernel.run(f"import sys\n{code}")
    assert [m["content"]["name"] for m in cell.of("stream")] == ["stdout", "stderr"] * 3
    assert cell.stdout == "out 0\nout 1\nout 2\n"
    assert cell.stderr == "err 0\nerr 1\nerr 2\n"


def test_a_thread_prints_while_its_cell_runs_and_afterwards(kernel: FrontEnd):
    code = """
import threading, time
def work():
    for n in range(3):
        print('thread', n, flush=True); time.sleep(0.2)
thread = threading.Thread(target=work); thread.start(); time.sleep(0.1)
"""
    message_id = kernel.start(code)
    seen, idle = "", False
    while "thread 2" not in seen:
        message = kernel.wait_for(lambda m: m["msg_type"] == "stream" or is_idle(m), "what the thread prints")
        idle = idle or (is_idle(message) and parent_of(message) == message_id)
        seen += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
    assert seen == "thread 0\nthread 1\nthread 2\n"
    assert idle, "the cell was over before its thread"


def test_a_figure_is_shown_inline(kernel: FrontEnd):
    cell = kernel.run("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 4, 9]);", timeout_s=90)
    (figure,) = cell.of("display_data")
    assert figure["content"]["data"]["image/png"].startswith("iVBOR")
    assert ast.literal_eval(kernel.run("plt.get_backend()").result or "").endswith("inline")


def test_a_display_is_updated_by_later_cells(kernel: FrontEnd):
    shown = kernel.run("handle = display('first', display_id='kept')").of("display_data")[0]
    assert shown["content"]["transient"] == {"display_id": "kept"}
    (update,) = kernel.run("handle.update('second')").of("update_display_data")
    assert update["content"]["data"]["text/plain"] == "'second'"
    assert update["content"]["transient"] == {"display_id": "kept"}


def test_output_is_cleared_at_once_or_for_the_next(kernel: FrontEnd):
    cell = kernel.run("from IPython.display import clear_output\nclear_output()\nprint('a')\nclear_output(wait=True)")
    assert [m["content"] for m in cell.of("clear_output")] == [{"wait": False}, {"wait": True}]


def test_rich_types_and_their_metadata_arrive(kernel: FrontEnd):
    code = (
        "class Rich:\n"
        "    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        data = {'text/plain': 'rich', 'application/json': {'a': [1]}}\n"
        "        return data, {'application/json': {'expanded': True}}\n"
        "Rich()"
    )
    (result,) = kernel.run(code).of("execute_result")
    assert result["content"]["data"]["application/json"] == {"a": [1]}
    assert result["content"]["metadata"] == {"application/json": {"expanded": True}}


def test_a_progress_bar_is_a_widget_that_comes_to_its_end(kernel: FrontEnd):
    cell = kernel.run("from tqdm.notebook import tqdm\nfor _ in tqdm(range(5)): pass", timeout_s=90)
    opened = [m["content"] for m in cell.of("comm_open")]
    assert {content["target_name"] for content in opened} == {"jupyter.widget"}
    bars = {c["comm_id"] for c in opened if c["data"]["state"]["_model_name"] == "FloatProgressModel"}
    updates = [m["content"]["data"]["state"] for m in cell.of("comm_msg") if m["content"]["comm_id"] in bars]
    assert [update["value"] for update in updates if "value" in update][-1] == 5.0
