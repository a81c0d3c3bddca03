"""What a front-end sees when something behind the GPU kernel is killed in the middle of a cell."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..notebook_kernel import role
from ..observing import held_gpus, wait_until
from ..processes import named
from .front_end import GPU_KERNEL, FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-crashes")


@pytest.fixture
def alone(own_environment: dict[str, str], tmp_path: Path) -> Iterator[FrontEnd]:
    """A GPU kernel with a broker of its own."""
    with FrontEnd(GPU_KERNEL, own_environment, tmp_path) as kernel:
        yield kernel


def begun(kernel: FrontEnd, code: str) -> tuple[str, int]:
    """Start a cell; its message id, and the pid of the process that runs it."""
    message_id = kernel.start(f"import os; print('pid', os.getpid(), flush=True)\n{code}")
    text = kernel.wait_for_text(message_id, "\n", timeout_s=60)
    return message_id, int(text.split()[1])


def killed_broker(environment: dict[str, str]) -> None:
    ready = json.loads((Path(environment["PERIJOVE_DATA"]) / "embedded" / "broker.json").read_text())
    psutil.Process(ready["pid"]).kill()


def test_the_process_dies(gpu_kernel: FrontEnd):
    """One error that says so, the reply, idle; what waited is aborted, and the next cell has a new process."""
    gpu_kernel.run("lost = 1")
    message_id, pid = begun(gpu_kernel, "import time; time.sleep(60)")
    behind = gpu_kernel.start("never = 1")
    gpu_kernel.ask("kernel_info_request")  # answered by the front, so the cell before it has come that far
    os.kill(pid, signal.SIGKILL)
    cell = gpu_kernel.finish(message_id, timeout_s=20)
    assert cell.error.startswith("KernelDied: ")
    assert "killed" in cell.error
    assert "variables are lost" in cell.error
    assert [m["content"]["ename"] for m in cell.of("error")] == ["KernelDied"]
    assert gpu_kernel.finish(behind).reply["content"]["status"] == "aborted"
    cell = gpu_kernel.run("[name for name in ('lost', 'never') if name in dir()]")
    assert cell.result == "[]"
    assert cell.of("display_data") == [], "the error has said it"


def test_the_process_ends_itself(kernel: FrontEnd):
    if not kernel.is_gpu_kernel:
        pytest.skip("then a local kernel is gone, and its front-end starts another")
    cell = kernel.run("import os; os._exit(3)")
    assert cell.error.startswith("KernelDied: ")
    assert kernel.run("1 + 1").result == "2"


def test_the_process_dies_between_cells(gpu_kernel: FrontEnd):
    """Nothing runs that could say so: the next cell begins with it."""
    pid = int(gpu_kernel.run("x = 1; import os; print(os.getpid())").stdout)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid))
    cell = gpu_kernel.run("print('runs')")
    if not cell.ok:  # it was on its way already
        assert cell.error.startswith("KernelDied: ")
        cell = gpu_kernel.run("print('runs')")
    else:
        (notice,) = [m for m in cell.of("display_data") if role(m) == "notice"]
        assert "variables are lost" in notice["content"]["data"]["text/plain"]
    assert cell.stdout == "runs\n"
    assert gpu_kernel.run("x").error.startswith("NameError")


def test_the_broker_dies_and_the_cell_goes_on(alone: FrontEnd, own_environment: dict[str, str]):
    """The embedded broker is started again, and no output is lost."""
    message_id, pid = begun(alone, "import time\nfor n in range(30): print(n, flush=True); time.sleep(0.1)")
    killed_broker(own_environment)
    cell = alone.finish(message_id, timeout_s=60)
    assert cell.ok
    assert cell.stdout == "".join(f"{n}\n" for n in range(30))
    assert alone.run("print(os.getpid(), n)").stdout == f"{pid} 29\n"


def test_the_broker_dies_while_nothing_runs(alone: FrontEnd, own_environment: dict[str, str]):
    pid = int(alone.run("x = 1; import os; print(os.getpid())").stdout)
    killed_broker(own_environment)
    assert alone.ask("kernel_info_request")["content"]["status"] == "ok"
    assert alone.run("print(os.getpid(), x)", timeout_s=60).stdout == f"{pid} 1\n"


def test_the_agent_dies(alone: FrontEnd, own_environment: dict[str, str]):
    message_id, pid = begun(alone, "import time; time.sleep(60)")
    (agent,) = named(own_environment["PERIJOVE_DATA"], "agent")
    agent.kill()
    cell = alone.finish(message_id, timeout_s=60)
    assert cell.error.startswith("KernelDied: ")
    wait_until(lambda: not psutil.pid_exists(pid))
    assert alone.run("1 + 1", timeout_s=60).result == "2"


def test_the_kernel_that_the_front_end_started_is_killed(alone: FrontEnd, own_environment: dict[str, str]):
    """No goodbye: its GPU goes back by the rules, 15 s later. A restart by the front-end has a fresh kernel."""
    alone.run("1")
    os.kill(alone.pid, signal.SIGKILL)
    wait_until(lambda: held_gpus(own_environment) == 0, within_s=40)
    alone.client.stop_channels()
    alone.manager.restart_kernel(now=True, env=alone.environment, cwd=str(alone.directory))
    alone.client = alone.connect()
    assert alone.run("1 + 1").result == "2"
