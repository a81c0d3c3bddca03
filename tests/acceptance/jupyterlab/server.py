"""A JupyterLab of its own: own home, own settings, own data of ours, on whatever port of loopback is free."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import httpx
import psutil

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
TOKEN = "acceptance"
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"codeCellConfig": {"lineNumbers": False, "codeFolding": True}},
    "completer-extension/manager": {"providerTimeout": 20_000},  # a busy machine may be slow to complete
}


class JupyterLabServer:
    """``async with`` starts it; leaving stops it, its kernels, and the broker that they started.

    Args:
        directory: for everything it writes; short, because sockets of ours lie in it.
        simulate: the devices that the embedded broker offers.
        options: more words on JupyterLab's command line.
    """

    def __init__(self, directory: Path, simulate: str = "H100:2", options: Sequence[str] = ()) -> None:
        self._options = options
        self.notebooks = directory / "notebooks"
        self.data = directory / "data"
        self._settings = directory / "settings"
        self._log = directory / "jupyterlab.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PERIJOVE"))}
        self.environment = inherited | {
            "HOME": str(directory),
            "IPYTHONDIR": str(directory / "ipython"),
            "JUPYTER_CONFIG_DIR": str(directory / "config"),
            "JUPYTER_DATA_DIR": str(directory / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
            "MPLCONFIGDIR": str(directory / "matplotlib"),
            "PERIJOVE_DATA": str(self.data),
            "PERIJOVE_SIMULATE": simulate,
        }

    async def __aenter__(self) -> JupyterLabServer:
        self.notebooks.mkdir()
        self._write_settings()
        await asyncio.to_thread(self.perijove, "install", "--user", "--gpu", "H100", "--gpu", "H100:2")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a moment, before anything else runs
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                    "--ServerApp.ip=127.0.0.1",
                    "--ServerApp.port=0",
                    f"--ServerApp.root_dir={self.notebooks}",
                    f"--IdentityProvider.token={TOKEN}",
                    "--LabApp.expose_app_in_browser=True",
                    f"--LabApp.user_settings_dir={self._settings}",
                    f"--LabApp.workspaces_dir={self._directory / 'workspaces'}",
                    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                    "--LabApp.news_url=None",
                    "--LabApp.extension_manager=readonly",
                    *self._options,
                ],
                env=self.environment,
                cwd=self.notebooks,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._url = await self._wait_until_ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def log(self) -> str:
        """What JupyterLab and its kernels wrote, for a look when something fails."""
        return self._log.read_text("utf-8", "replace")

    def lab_url(self, workspace: str = "") -> str:
        place = f"lab/workspaces/{workspace}" if workspace else "lab"
        return f"{self._url}{place}?token={TOKEN}&reset"

    def perijove(self, *words: str) -> str:
        """What our command line prints, asked about this server's broker."""
        command = [sys.executable, "-m", "perijove.cli", *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout

    async def wait_until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait for something that our command line tells."""
        async with asyncio.timeout(within_s):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another program is what is waited for
                await asyncio.sleep(0.1)

    @contextmanager
    def kernel_environment(self, name: str, **variables: str) -> Iterator[None]:
        """Kernels that are started meanwhile have these variables: a kernelspec's ``env`` is for its user to fill."""
        path = self._directory / "jupyter" / "kernels" / name / "kernel.json"
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | {"env": variables}))
        yield
        path.write_text(before)

    def _write_settings(self) -> None:
        for plugin, settings in SETTINGS.items():
            path = self._settings / f"@jupyterlab/{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))

    async def _wait_until_ready(self) -> str:
        """The server's URL, which it writes into its runtime directory once it listens."""
        assert self._process is not None
        written = self._directory / "runtime" / f"jpserver-{self._process.pid}.json"
        deadline = time.monotonic() + START_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    url = str(json.loads(written.read_text())["url"])
                    if (await http.get(f"{url}api", params={"token": TOKEN})).is_success:
                        return url
                except (OSError, ValueError, KeyError, httpx.TransportError):
                    pass
                await asyncio.sleep(0.05)
        raise AssertionError(f"JupyterLab did not start:\n{self.log}")

    async def _stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self.data.exists():
            await asyncio.to_thread(self.perijove, "down")

    def processes(self) -> list[psutil.Process]:
        """Every process that works for this server: all that is started here inherits where our data is."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PERIJOVE_DATA") == str(self.data):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found
