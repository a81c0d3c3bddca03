"""Budgets as a user meets them: a cell that is stopped when the money is used up, and what there is to do then."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import perijove, running_environment
from .notebook_kernel import CellResult, NotebookKernel, role
from .test_crashes import broker_of

DEAR = """
dated = "2026-11"
source = "this test"
cpu_usd_per_second = "0.0001"

[gpu.H100]
usd_per_second = "0.10"
memory_gib = 80
"""
SECOND = 100_000_000  # nano-dollars


@pytest.fixture
def dear(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment where a second of an H100 costs ten cents."""
    prices = tmp_path / "prices.toml"
    prices.write_text(DEAR)
    for environment in running_environment(Path(tempfile.mkdtemp(prefix="pj-"))):
        yield environment | {"PERIJOVE_PRICES": str(prices)}


@pytest.fixture
def notebook(dear: dict[str, str], tmp_path: Path) -> Iterator[NotebookKernel]:
    with NotebookKernel(dear, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        yield notebook


def notices(cell: CellResult) -> list[str]:
    return [m["content"]["data"]["text/plain"] for m in cell.of("display_data") if role(m) == "notice"]


def spent(environment: dict[str, str]) -> int:
    bill = json.loads(perijove(environment, "bill", "--json"))
    assert bill["total_nanodollars"] == 0, "simulated dollars are apart"
    return int(bill["simulated_nanodollars"])


def test_a_cell_is_stopped_when_the_budget_is_used_up_and_a_higher_one_goes_on(
    notebook: NotebookKernel, dear: dict[str, str]
):
    cell = notebook.run("%%gpu H100 --budget 0.30\nkept = 'still here'")
    assert cell.ok, cell.error
    assert "of $0.3000 left (simulated)" in cell.status_line
    cell = notebook.run("%%gpu\nimport time\nfor _ in range(600): time.sleep(0.1)")
    assert cell.error.startswith("BudgetExhausted: this kernel's budget of $0.3000 (simulated) is used up")
    assert "the variables over there are kept" in cell.error
    (warning,) = notices(cell)
    assert warning.startswith("Over 80 % of this kernel's budget of $0.3000 (simulated) is spent")
    assert 3 * SECOND <= spent(dear) <= 4 * SECOND
    refused = notebook.run("%%gpu\nprint('not run')")
    assert refused.error.startswith("BudgetExhausted: ")
    assert "%gpu budget" in refused.error
    assert not refused.stdout
    assert "suspended" in notebook.run("%gpu").result
    assert "of $5.0000 left (simulated)" in notebook.run("%gpu budget 5.00").stdout
    assert notebook.run("%%gpu\nprint(kept)").stdout == "still here\n"
    assert "$5.0000 left" in notebook.run("%gpu budget").stdout
    assert "has no budget" in notebook.run("%gpu budget none").stdout


def test_an_idle_kernel_is_released_and_a_cell_that_will_not_stop_is_ended(
    notebook: NotebookKernel, dear: dict[str, str]
):
    stubborn = "while True:\n    try:\n        time.sleep(1)\n    except KeyboardInterrupt:\n        pass"
    cell = notebook.run(f"%%gpu H100 --budget 0.25\nimport time\n{stubborn}")
    assert cell.error.startswith("BudgetExhausted: this kernel's budget of $0.2500 (simulated) is used up")
    assert "the variables over there are lost" in cell.error
    assert spent(dear) <= 3.5 * SECOND
    notebook.run("%%gpu H100 --budget 0.60\nx = 1")
    notebook.run("import time; time.sleep(4)")
    assert notebook.run("%%gpu\nx").error.startswith("BudgetExhausted: ")
    assert spent(dear) <= 7 * SECOND


def test_two_kernels_draw_on_one_months_budget(notebook: NotebookKernel, dear: dict[str, str]):
    told = notebook.run("%gpu budget month 2.00")
    assert told.stdout.startswith("month 20")
    assert "$2.0000 of $2.0000 left, $0.0000 spent (set by you)" in told.stdout
    assert notebook.run("%%gpu H100 --kernel one\nkept = 1").ok
    cell = notebook.run("%%gpu H100 --kernel two\nimport time\nfor _ in range(600): time.sleep(0.1)")
    assert cell.error.startswith("BudgetExhausted: your budget of $2.0000 (simulated) for this month "), cell.error
    assert "`%gpu budget month AMOUNT` raises it" in cell.error
    (warning,) = notices(cell)
    assert warning.startswith("Over 80 % of your budget of $2.0000 (simulated) for 20")
    notebook.run("import time; time.sleep(4)")
    assert 18 * SECOND <= spent(dear) <= 22 * SECOND
    refused = notebook.run("%%gpu --kernel one\nprint(kept)")
    assert refused.error.startswith("BudgetExhausted: ")
    assert "(set by you)" in refused.error
    shown = notebook.run("%gpu budget").stdout.splitlines()
    assert "in simulated dollars, apart: $" in shown[-1]
    assert notebook.run("%gpu budget month none").ok
    assert notebook.run("%%gpu --kernel one\nprint(kept)").stdout == "1\n"


def test_a_months_budget_holds_over_a_broker_that_is_killed(notebook: NotebookKernel, dear: dict[str, str]):
    notebook.run("%gpu budget month 1.50")
    cell = notebook.start("%%gpu H100\nimport time\nprint('it runs', flush=True)\nfor _ in range(600): time.sleep(0.1)")
    notebook.wait_for(cell, "it runs", timeout_s=60)
    (broker,) = broker_of(dear)
    broker.send_signal(signal.SIGKILL)
    result = notebook.finish(cell, timeout_s=60)
    # Its share lasts for half of the time; it gets the rest if the broker is back by then, on a busy machine or not.
    assert result.error.startswith("BudgetExhausted: your budget of $1.5000 (simulated) for this month"), result.error
    assert 7 * SECOND <= spent(dear) <= 16 * SECOND
    assert "of $1.5000 left" in notebook.run("%gpu budget month").stdout


def test_the_command_line_sets_what_each_kernel_may_cost_and_what_a_user_cannot_raise(
    notebook: NotebookKernel, dear: dict[str, str]
):
    assert "each kernel: at most $0.3000 (set by you)" in perijove(dear, "budget", "--kernel", "0.30")
    assert notebook.run("%%gpu H100\nkept = 1").ok
    cell = notebook.run("%%gpu\nimport time\nfor _ in range(600): time.sleep(0.1)")
    assert cell.error.startswith("BudgetExhausted: this kernel's budget of $0.3000 (simulated) is used up")
    assert notebook.run("%%gpu\nkept").error.startswith("BudgetExhausted: this kernel's budget of $0.3000 (set by you)")
    assert "each kernel: no budget" in perijove(dear, "budget", "--kernel", "none")
    assert notebook.run("%%gpu\nprint(kept)").stdout == "1\n"
    (me,) = json.loads(perijove(dear, "budget", "--json"))
    perijove(dear, "budget", "--for", me["user"], "--user-total", "0")
    notebook.run("import time; time.sleep(1)")
    refused = notebook.run("%%gpu\nprint(kept)")
    assert f"(set by {me['user']}, an admin)" in refused.error
    assert "an admin can raise it: `perijove budget --for" in refused.error
    perijove(dear, "budget", "--for", me["user"], "--user-total", "none")
