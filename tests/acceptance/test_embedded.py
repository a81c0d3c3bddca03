"""The embedded broker: started once, found by all, closed to others, gone when unused."""

from __future__ import annotations

import concurrent.futures
import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx

from .conftest import perijove
from .notebook_kernel import NotebookKernel
from .processes import named, ours

ENSURE = (
    "import asyncio; from perijove.client.embedded import ensure_embedded; print(asyncio.run(ensure_embedded()).url)"
)


def ensure_in_a_process(environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", ENSURE], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def embedded(environment: dict[str, str]) -> Path:
    return Path(environment["PERIJOVE_DATA"]) / "embedded"


def test_five_notebooks_at_once_start_one_broker(own_env: dict[str, str]):
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        urls = list(pool.map(ensure_in_a_process, [own_env] * 5))
    assert len(set(urls)) == 1
    assert len(named(own_env["PERIJOVE_DATA"], "up")) + len(named(own_env["PERIJOVE_DATA"], "--embedded")) <= 2
    pids = {json.loads((embedded(own_env) / "broker.json").read_text())["pid"]}
    assert {process.pid for process in named_up(own_env)} <= pids


def named_up(environment: dict[str, str]) -> list:
    return [p for p in ours(environment["PERIJOVE_DATA"]) if "up" in p.cmdline() and "--embedded" in p.cmdline()]


def test_loading_the_extension_starts_nothing(own_env: dict[str, str], tmp_path: Path):
    with NotebookKernel(own_env, tmp_path) as notebook:
        notebook.run("%load_ext perijove")
        assert notebook.run("%gpu").result.startswith("nothing is attached")
        assert not (Path(own_env["PERIJOVE_DATA"])).exists() or not named_up(own_env)


def test_another_user_of_the_host_is_shut_out(own_env: dict[str, str]):
    url = ensure_in_a_process(own_env)
    assert url.startswith("http://127.0.0.1:")
    for path in ("/api/status", "/api/gpus", "/api/bill", "/api/kernels"):
        assert httpx.get(url + path, trust_env=False).status_code in (401, 403)
        wrong = {"Authorization": "Bearer guessed"}
        assert httpx.get(url + path, headers=wrong, trust_env=False).status_code in (401, 403)
    for name in ("token", "agent.token", "broker.json"):
        mode = stat.S_IMODE((embedded(own_env) / name).stat().st_mode)
        assert mode & 0o077 == 0, f"{name} has mode {mode:o}"
    assert stat.S_IMODE(embedded(own_env).stat().st_mode) == 0o700


def test_it_goes_when_it_is_unused(own_env: dict[str, str]):
    ensure_in_a_process(own_env | {"PERIJOVE_EMBEDDED_UNUSED_S": "1"})
    deadline = time.monotonic() + 20
    while ours(own_env["PERIJOVE_DATA"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not ours(own_env["PERIJOVE_DATA"])


def test_up_and_down_by_hand(own_env: dict[str, str]):
    said = perijove(own_env, "up", "--background", "--simulate", "A100:1")
    assert said.startswith("perijove runs at http://127.0.0.1:")
    again = perijove(own_env, "up", "--background")
    assert again.startswith("perijove already runs at")
    deadline = time.monotonic() + 20
    while not (agents := json.loads(perijove(own_env, "status", "--json"))["agents"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(gpu["model"], gpu["simulated"]) for gpu in agents[0]["gpus"]] == [("A100-80GB", True)]
    assert perijove(own_env, "down") == "perijove is down\n"
    assert perijove(own_env, "down") == "perijove was not running\n"
