"""A device in trouble, and one in parts, as a notebook's user and the operator see them.

The agent is a real one; its driver is the compiled stand-in for NVIDIA's library.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import perijove
from .notebook_kernel import NotebookKernel
from .nvidia_driver import Driver
from .observing import wait_until

H100 = "GPU-11111111-2222-3333-4444-555555555555"
ONE = f"{H100}|NVIDIA H100 80GB HBM3|81559|0|37|\n"
PARTS = f"""{H100}|NVIDIA H100 80GB HBM3|81559|0|0||mig
MIG-11111111-0000-5000-8000-000000000001|NVIDIA H100 80GB HBM3 MIG 1g.10gb|9856|0|0|
MIG-11111111-0000-5000-8000-000000000002|NVIDIA H100 80GB HBM3 MIG 2g.20gb|19968|0|0|
"""

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler, so no stand-in for NVIDIA's library")


@pytest.fixture
def driver(own_env: dict[str, str], tmp_path: Path) -> Driver:
    driver = Driver(tmp_path)
    own_env |= driver.environment
    del own_env["PERIJOVE_SIMULATE"]
    return driver


def gpus(environment: dict[str, str]) -> list[dict[str, Any]]:
    document = json.loads(perijove(environment, "status", "--json"))
    return [gpu for agent in document["agents"] for gpu in agent["gpus"]]


def until_gpus(environment: dict[str, str], condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def met() -> bool:
        found[:] = gpus(environment)
        return condition(found)

    wait_until(met)
    return found


def test_a_critical_xid_ends_no_cell_and_nothing_new_is_put_on_that_gpu(
    own_env: dict[str, str], driver: Driver, tmp_path: Path
) -> None:
    driver.has(ONE)
    with NotebookKernel(own_env, tmp_path) as notebook, NotebookKernel(own_env, tmp_path) as other:
        for each in (notebook, other):
            each.run("%load_ext perijove")
        first = notebook.run("%%gpu H100\nimport os\nprint(os.environ['CUDA_VISIBLE_DEVICES'])", timeout_s=60)
        assert first.stdout == f"{H100}\n"
        driver.report(f"{H100} 31")
        driver.report(f"{H100} 79")
        (gpu,) = until_gpus(own_env, lambda gpus: "Xid 79" in gpus[0]["reason"] and bool(gpus[0]["usage"]))
        assert gpu["state"] == "held"
        assert notebook.run("%%gpu H100\nprint('goes on')").stdout == "goes on\n"
        notebook.run("%gpu release")
        (gpu,) = until_gpus(own_env, lambda gpus: gpus[0]["state"] == "unhealthy")
        assert gpu["usage"]["xid_errors"] == {"31": 1, "79": 1}
        top = perijove(own_env | {"COLUMNS": "200"}, "top", "--once")
        assert "unhealthy: Xid 79: the GPU has fallen off the bus" in top

        cell = other.start("%%gpu H100\nprint('never')")
        shown = other.wait_for_display(cell, "1 unhealthy")
        assert re.search(r"unhealthy \(Xid 79: the GPU has fallen off the bus \(\d\d:\d\d UTC\)\)", shown)
        driver.has(ONE.replace("|0|37|", "|15|37|"))  # it is being reset
        until_gpus(own_env, lambda gpus: gpus[0]["state"] == "lost")
        assert "lost: Xid 79: the GPU has fallen off the bus" in other.finish(cell).error
        driver.has(ONE)
        until_gpus(own_env, lambda gpus: gpus[0]["state"] == "free")
        assert other.run("%%gpu H100\nprint('again')").stdout == "again\n"


def test_a_driver_that_is_loaded_anew_while_a_kernel_is_attached(
    own_env: dict[str, str], driver: Driver, tmp_path: Path
) -> None:
    driver.has(ONE)
    with NotebookKernel(own_env, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        assert notebook.run("%%gpu H100\nx = 41", timeout_s=60).ok
        driver.unload()
        why = "the NVIDIA driver is not loaded"
        until_gpus(own_env, lambda gpus: (gpus[0]["state"], gpus[0]["reason"]) == ("lost", why))
        until_gpus(own_env, lambda gpus: (gpus[0]["usage"] or {}).get("problem") == why)
        assert notebook.run("%%gpu H100\nprint(x + 1)").stdout == "42\n", "the kernel is not the device"
        driver.has(ONE)
        (gpu,) = until_gpus(
            own_env, lambda gpus: gpus[0]["state"] == "held" and not (gpus[0]["usage"] or {"problem": 1})["problem"]
        )
        assert gpu["usage"]["power_milliwatts"] == 412_000


def test_an_instance_is_had_by_its_name_and_is_not_called_an_h100(
    own_env: dict[str, str], driver: Driver, tmp_path: Path
) -> None:
    driver.has(PARTS)
    with NotebookKernel(own_env, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        whole = notebook.run("%%gpu H100\npass", timeout_s=60)
        assert whole.error.startswith("NoSuchGpu: there is no H100 here")
        assert "1 × H100-1g.10gb" in whole.error
        cell = "%%gpu H100-2g.20gb\nimport os\nprint(os.environ['CUDA_VISIBLE_DEVICES'])"
        part = notebook.run(cell, timeout_s=60)
        assert part.stdout == "MIG-11111111-0000-5000-8000-000000000002\n"
        assert part.status_line.startswith("H100-2g.20gb · ")
        states = {gpu["place"]: (gpu["model"], gpu["state"]) for gpu in gpus(own_env)}
        assert states == {"0:0": ("H100-1g.10gb", "free"), "0:1": ("H100-2g.20gb", "held")}
        listed = notebook.run("%gpu list")
        assert "H100-1g.10gb" in (listed.result or "") + listed.stdout
