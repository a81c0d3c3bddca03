"""Long use and large outputs: nothing grows, nothing is left over, nothing is lost. Run with ``pytest -m stress``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ..conftest import perijove
from ..notebook_kernel import NotebookKernel
from .census import census, growth

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]
SPARES = 2
GROWN_BYTES = 8_000_000


def wait_for_spares(environment: dict[str, str], within_s: float = 60.0) -> None:
    """Wait until the agent has filled up its spares: starting one takes files and memory of its own."""
    deadline = time.monotonic() + within_s
    while sum(agent["spares"] for agent in json.loads(perijove(environment, "status", "--json"))["agents"]) < SPARES:
        assert time.monotonic() < deadline, "the agent does not fill up its spares"


def check_that_nothing_grows(notebook: NotebookKernel, environment: dict[str, str], code: str, times: int) -> None:
    """Run a cell many times; the first tenth may fill caches."""
    for _ in range(times // 10):
        assert notebook.run(code).ok
    wait_for_spares(environment)
    before = census(environment["PERIJOVE_DATA"])
    started = time.monotonic()
    for _ in range(times):
        assert notebook.run(code).ok
    took = time.monotonic() - started
    after = census(environment["PERIJOVE_DATA"])
    print(f"{times} × in {took:.1f} s, {took / times * 1e3:.1f} ms each\n{growth(before, after)}")
    for key in before.keys() & after.keys():
        assert after[key].memory_bytes - before[key].memory_bytes < GROWN_BYTES, growth(before, after)
        assert after[key].threads <= before[key].threads + 1, growth(before, after)
        assert after[key].files <= before[key].files + 2, growth(before, after)


def test_five_hundred_cells_leave_no_trace(own_notebook: NotebookKernel, own_env: dict[str, str]):
    own_notebook.run("n = 0")
    code = "%%gpu H100\nn += 1\nprint(n)"
    check_that_nothing_grows(own_notebook, own_env, code, 500)
    assert own_notebook.run("n").result == "550"


def test_fifty_attaches_leave_no_trace(own_notebook: NotebookKernel, own_env: dict[str, str]):
    own_notebook.run("%%gpu H100\nkept = 1")
    code = "%gpu release\n%gpu attach H100"
    check_that_nothing_grows(own_notebook, own_env, code, 50)
    assert own_notebook.run("%%gpu\nprint(kept)").stdout == "1\n"


def test_ten_notebook_kernels_leave_nothing(own_env: dict[str, str], tmp_path: Path):
    settled: list[tuple[str, int]] = []
    for turn in range(12):
        with NotebookKernel(own_env, tmp_path) as notebook:
            notebook.run("%load_ext perijove")
            assert notebook.run("%%gpu H100\nprint('hello')").stdout == "hello\n"
        wait_for_spares(own_env)
        deadline = time.monotonic() + 20
        while len(left := sorted(name for name, _ in census(own_env["PERIJOVE_DATA"]))) != len(settled or left):
            assert time.monotonic() < deadline, f"{left} after {turn + 1} notebooks, {settled} after two"
        if turn == 1:
            settled, before = left, census(own_env["PERIJOVE_DATA"])
    print(growth(before, census(own_env["PERIJOVE_DATA"])))


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("lines", "for i in range(200_000):\n    print('line', i)", 200_000),
        ("one line", "print('x' * 50_000_000)", 1),
    ],
    ids=["200,000 lines", "one line of 50 MB"],
)
def test_large_text_arrives_whole(
    own_notebook: NotebookKernel, own_env: dict[str, str], name: str, code: str, expected: int
):
    own_notebook.run("%%gpu H100\npass")
    before = census(own_env["PERIJOVE_DATA"])
    started = time.monotonic()
    cell = own_notebook.run(f"%%gpu H100\n{code}", timeout_s=200)
    print(f"{name}: {time.monotonic() - started:.1f} s\n{growth(before, census(own_env['PERIJOVE_DATA']))}")
    lines = cell.stdout.splitlines()
    assert len(lines) == expected
    assert len(cell.stdout) == (50_000_001 if expected == 1 else sum(len(f"line {i}\n") for i in range(200_000)))
    assert cell.status_line
    assert own_notebook.run("%%gpu\nprint('goes on')").stdout == "goes on\n"


def test_a_display_of_30_mb_arrives_whole(own_notebook: NotebookKernel):
    own_notebook.run("%%gpu H100\npass")
    started = time.monotonic()
    cell = own_notebook.run(
        "%%gpu H100\nimport os\nfrom IPython.display import HTML, Image\n"
        "display(HTML('<p>' + 'x' * 30_000_000))\n"
        "display(Image(data=b'\\x89PNG\\r\\n\\x1a\\n' + os.urandom(22_500_000), format='png'))",
        timeout_s=120,
    )
    print(f"30 MB displays: {time.monotonic() - started:.1f} s")
    first, second, status = cell.of("display_data")
    assert len(first["content"]["data"]["text/html"]) == 30_000_003
    assert len(second["content"]["data"]["image/png"]) >= 30_000_000
    assert status["content"]["metadata"]["perijove"]["role"] == "status"


def test_a_thousand_updates_arrive_in_order(own_notebook: NotebookKernel):
    own_notebook.run("%%gpu H100\npass")
    started = time.monotonic()
    cell = own_notebook.run(
        "%%gpu H100\nhandle = display(0, display_id=True)\nfor i in range(1, 1001):\n    handle.update(i)", timeout_s=60
    )
    print(f"1,000 updates: {time.monotonic() - started:.1f} s")
    updates = [message["content"]["data"]["text/plain"] for message in cell.of("update_display_data")]
    assert updates == [str(i) for i in range(1, 1001)]
