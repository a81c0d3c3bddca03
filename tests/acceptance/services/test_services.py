"""``@jupyterlab/services`` from npm, the library inside JupyterLab and VS Code, against the broker itself.

The same checks run against jupyter_server: what fails there too is not ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..jupyter_servers import Server, broker, jupyter_server

pytestmark = pytest.mark.xdist_group("services")

HERE = Path(__file__).parent
CHECKS = re.findall(r"^  async '(.+)'\(\)", (HERE / "checks.mjs").read_text(), re.MULTILINE)
ALL_WITHIN_S = 110


@pytest.fixture(scope="package")
def services() -> Path:
    """A directory with the pinned library in its ``node_modules``, installed once per lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("the tests with @jupyterlab/services need node and npm, which are not installed here")
    lock = (HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perijove-tests"
    directory = cache / f"services-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not directory.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, draft)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=draft,
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
        if done.returncode:
            shutil.rmtree(draft)
            pytest.skip(f"@jupyterlab/services could not be installed: {done.stderr.strip().splitlines()[-1:]}")
        draft.rename(directory)
    return directory


@pytest.fixture(scope="module")
def broker_server() -> Iterator[Server]:
    with broker(Path(tempfile.mkdtemp(prefix="pj-"))) as server:
        yield server


@pytest.fixture(scope="module")
def control_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter_server(tmp_path_factory.mktemp("control")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway_server(broker_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """jupyter_server with the broker as its gateway."""
    options = [f"--gateway-url={broker_server.url.rstrip('/')}", f"--GatewayClient.auth_token={broker_server.token}"]
    with jupyter_server(tmp_path_factory.mktemp("gateway"), options=options) as server:
        yield dataclasses.replace(server, kernel=broker_server.kernel)


@pytest.fixture(scope="module", params=["broker-v1", "broker-legacy", "gateway-gateway", "control-v1"])
def results(request: pytest.FixtureRequest, services: Path) -> dict[str, str | None]:
    """What each check came to."""
    which, framing = request.param.split("-")
    server: Server = request.getfixturevalue(f"{which}_server")
    command = ["node", str(HERE / "checks.mjs"), server.url, server.token, server.kernel, framing]
    environment = server.environment | {"SERVICES_FROM": str(services)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=ALL_WITHIN_S)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line["error"] for line in lines}


@pytest.mark.parametrize("check", CHECKS)
def test_check(results: dict[str, str | None], check: str) -> None:
    if check not in results:
        pytest.skip("jupyter_server's gateway client carries no buffers: ipywidgets#3798")
    assert results[check] is None, results[check]
