"""No broker, a wrong token, no such GPU, no money: the cell shows one error that says what to do; the kernel lives."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import perijove, running_environment
from ..notebook_kernel import CellResult
from .conftest import installed
from .front_end import GPU_KERNEL, FrontEnd, free_ports

pytestmark = pytest.mark.xdist_group("kernel-refusals")

DEAR = """
dated = "2026-11"
source = "this test"
cpu_usd_per_second = "0.0001"

[gpu.H100]
usd_per_second = "0.10"
memory_gib = 80
"""


def check_refused(kernel: FrontEnd, error: str, *words: str) -> CellResult:
    """A cell with one error; all else goes on as it does without a GPU."""
    cell = kernel.run("print('never')")
    assert cell.error.startswith(f"{error}: ")
    assert all(word in cell.error for word in words), cell.error
    assert [m["content"]["ename"] for m in cell.of("error")] == [error]
    assert cell.stdout == ""
    assert kernel.manager.is_alive()
    assert kernel.ask("kernel_info_request")["content"]["status"] == "ok"
    assert "%gpu attach" in kernel.run("%gpu help").stdout
    return cell


@pytest.fixture
def port_and_environment() -> Iterator[tuple[int, dict[str, str]]]:
    """A broker's place, and the environment of those who are told of it; it does not run yet."""
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    (port,) = free_ports(1)
    with contextlib.contextmanager(running_environment)(directory) as environment:
        yield port, environment
    shutil.rmtree(directory, ignore_errors=True)


def test_a_broker_that_is_away_before_and_between_cells(
    port_and_environment: tuple[int, dict[str, str]], tmp_path: Path
):
    port, environment = port_and_environment
    up = ("up", "--background", "--port", str(port), "--simulate", "H100")
    perijove(environment, *up)
    token = (Path(environment["PERIJOVE_DATA"]) / "embedded" / "token").read_text().strip()
    perijove(environment, "down")
    told = environment | {"PERIJOVE_URL": f"http://127.0.0.1:{port}", "PERIJOVE_TOKEN": token}
    with FrontEnd(GPU_KERNEL, installed(told, tmp_path / "prefix"), tmp_path) as kernel:
        check_refused(kernel, "BrokerUnreachable", str(port))
        perijove(environment, *up)
        assert kernel.run("x = 1; x").result == "1"
        perijove(environment, "down")
        check_refused(kernel, "BrokerUnreachable", str(port))
        perijove(environment, *up)
        cell = kernel.run("6 * 7")
        assert cell.result == "42"
        assert kernel.run("x").error.startswith("NameError"), "`perijove down` ended the process"


def test_a_wrong_token(environment: dict[str, str], gpu_kernel: FrontEnd, tmp_path: Path):
    gpu_kernel.run("1")
    ready = Path(environment["PERIJOVE_DATA"]) / "embedded" / "broker.json"
    url = ready.read_text().split('"url": "')[1].split('"')[0]
    wrong = environment | {"PERIJOVE_URL": url, "PERIJOVE_TOKEN": "wrong"}
    with FrontEnd(GPU_KERNEL, wrong, tmp_path) as kernel:
        cell = check_refused(kernel, "NotAuthorized")
        assert "wrong" not in cell.error, "a token is not to be shown"


def test_a_gpu_that_nobody_has(environment: dict[str, str], tmp_path: Path):
    perijove(environment, "install", "--prefix", str(tmp_path), "--gpu", "B200")
    with FrontEnd("perijove-b200", environment | {"JUPYTER_PATH": str(tmp_path / "share/jupyter")}, tmp_path) as kernel:
        check_refused(kernel, "NoSuchGpu", "B200", "H100")
        assert kernel.run("%gpu attach H100").ok
        assert kernel.run("6 * 7").result == "42"


def test_a_budget_that_is_spent(tmp_path: Path):
    prices = tmp_path / "prices.toml"
    prices.write_text(DEAR)
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    with contextlib.contextmanager(running_environment)(directory) as environment:
        dear = installed(environment | {"PERIJOVE_PRICES": str(prices)}, tmp_path / "prefix")
        with FrontEnd(GPU_KERNEL, dear, tmp_path) as kernel:
            assert kernel.run("%gpu budget 0.20").ok
            kernel.run("x = 'kept'")
            cell = kernel.run("import time\nfor _ in range(600): time.sleep(0.1)")
            assert cell.error.startswith("BudgetExhausted: this kernel's budget of $0.2000 (simulated) is used up")
            assert len(cell.of("error")) == 1
            check_refused(kernel, "BudgetExhausted", "%gpu budget")
            assert kernel.run("%gpu budget none").ok
            assert kernel.run("x").result == "'kept'"
