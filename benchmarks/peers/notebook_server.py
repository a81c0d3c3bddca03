"""A real jupyter_server on loopback: its defaults, and once more with TCP_NODELAY set on its connections.

jupyter_server (2.21, on tornado 6.6) leaves Nagle's algorithm on for its WebSockets: the second small message of a cell
waits until the client has acknowledged the first, which a client's system delays by up to 40 ms. That is one call to
change, so it is compared with both ways. Its output limits (1,000 messages and 1 MB per second over 3 s) stay on: what
they drop is counted.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ..channels import KernelServer
from ..front_end import plain_kernel

KERNEL = "plain"
NODELAY = "--nodelay"
_STARTS_WITHIN_S = 60.0
_STOPS_WITHIN_S = 15.0


@contextmanager
def notebook_server(directory: Path, *, nodelay: bool) -> Iterator[KernelServer]:
    """A server with a kernelspec of its own, the plain ipykernel that it is compared with; stopped at the end."""
    home = directory / f"jupyter_server-{'nodelay' if nodelay else 'stock'}"
    (home / "root").mkdir(parents=True, exist_ok=True)
    _write_kernelspec(home)
    port, token = _free_port(), secrets.token_hex(16)
    arguments = [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={home / 'root'}",
    ]
    environment = {
        "JUPYTER_TOKEN": token,
        "JUPYTER_PATH": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.notebook_server", *([NODELAY] if nodelay else []), *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        server = KernelServer(f"http://127.0.0.1:{port}", token)
        _wait_until_it_answers(server, process, home / "server.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write_kernelspec(home: Path) -> None:
    folder = home / "kernels" / KERNEL
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"argv": plain_kernel("{connection_file}"), "display_name": "plain ipykernel", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(server: KernelServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            server.request("GET", "/api/kernels")
        except httpx.HTTPError:
            if process.poll() is not None:
                raise RuntimeError(f"jupyter_server ended: {log.read_text()[-500:]}") from None
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"jupyter_server did not answer within {_STARTS_WITHIN_S:.0f} s")


def set_nodelay() -> None:
    """Have jupyter_server set TCP_NODELAY on each kernel WebSocket that it opens; before, tornado would undo it."""
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

    stock = KernelWebsocketHandler.open

    async def without_delay(self: KernelWebsocketHandler, kernel_id: str) -> None:
        self.set_nodelay(True)
        await stock(self, kernel_id)

    KernelWebsocketHandler.open = without_delay  # type: ignore[method-assign]


if __name__ == "__main__":
    from jupyter_server.serverapp import main

    arguments = sys.argv[1:]
    if NODELAY in arguments:
        arguments.remove(NODELAY)
        set_nodelay()
    main(arguments)
