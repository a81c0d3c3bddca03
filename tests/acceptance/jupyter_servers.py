"""Two servers that speak Jupyter's API: the broker, and jupyter_server itself, which shows what clients may expect."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from .conftest import perijove, running_environment
from .observing import wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
TOKEN = "acceptance"


@dataclass(frozen=True, slots=True)
class Server:
    """``url`` ends with a slash; ``kernel`` is the kernelspec to use."""

    url: str
    token: str
    kernel: str
    environment: dict[str, str]

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"token {self.token}"}, trust_env=False, timeout=30.0
        )


@contextmanager
def broker(directory: Path, simulate: str = "H100:2") -> Iterator[Server]:
    """``perijove up``, as a user would start it to have a server for front-ends."""
    environments = running_environment(directory)
    environment = next(environments)
    try:
        said = perijove(environment, "up", "--background", "--simulate", simulate)
        found = re.search(r"runs at (\S+); the token is in (.+)", said)
        assert found is not None, said
        token = Path(found[2].strip()).read_text().strip()
        server = Server(f"{found[1]}/", token, "perijove-h100", environment)
        with server.client() as http:
            wait_until(lambda: server.kernel in http.get("api/kernelspecs").json()["kernelspecs"])
        yield server
    finally:
        next(environments, None)  # ends it, and looks for what is left


@contextmanager
def jupyter_server(directory: Path, module: str = "jupyter_server", options: Sequence[str] = ()) -> Iterator[Server]:
    """jupyter_server, or JupyterLab, with a home of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PERIJOVE"))}
    environment = inherited | {
        "HOME": str(directory),
        "IPYTHONDIR": str(directory / "ipython"),
        "JUPYTER_CONFIG_DIR": str(directory / "config"),
        "JUPYTER_DATA_DIR": str(directory / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
    }
    notebooks = directory / "notebooks"
    notebooks.mkdir(parents=True)
    command = [sys.executable, "-m", module, "--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    command += [
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={notebooks}",
        f"--IdentityProvider.token={TOKEN}",
        *options,
    ]
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=notebooks, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        url = _url_when_ready(directory / "runtime" / f"jpserver-{process.pid}.json", process, log)
        yield Server(url, TOKEN, "python3", environment)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def _url_when_ready(written: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    """The server's URL, which it writes into its runtime directory once it listens."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            url = str(json.loads(written.read_text())["url"])
            if httpx.get(f"{url}api", params={"token": TOKEN}, trust_env=False).is_success:
                return url
        except (OSError, ValueError, KeyError, httpx.TransportError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text('utf-8', 'replace')}")
