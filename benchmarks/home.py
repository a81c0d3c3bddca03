"""A Perijove of the benchmark's own: a temporary data directory, simulated GPUs, an end to everything it started."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from perijove.client.address import BrokerAddress
from perijove.client.embedded import ensure_embedded

from .channels import KernelServer
from .front_end import FrontEnd

GPU = "H100"
KERNEL = "perijove-h100"  # the kernelspec for it
COUNT = 2
SPARES = 2  # that an agent keeps
SPARES_WITHIN_S = 30.0
REST_S = 0.4
_OURS = ("PERIJOVE_",)


@dataclass(frozen=True, slots=True)
class Home:
    directory: Path
    environment: dict[str, str]  # what a notebook's kernel needs to find this broker

    def notebook(self) -> FrontEnd:
        """A front-end whose local kernel has ``%load_ext perijove`` loaded."""
        front_end = FrontEnd(self.directory, self.environment)
        front_end.wait_until_heard()
        front_end.execute("%load_ext perijove")
        return front_end

    def gpu_kernel(self) -> FrontEnd:
        """A front-end whose kernel is the GPU kernel, as its kernelspec starts it."""
        return FrontEnd(self.directory, self.environment, gpu_kernel)

    def kernel_server(self) -> KernelServer:
        """The broker as a Jupyter server."""
        address = self.broker()
        return KernelServer(address.url, address.token)

    def broker(self) -> BrokerAddress:
        """Where the embedded broker is; it is started if nothing has yet."""
        return asyncio.run(ensure_embedded({**os.environ, **self.environment}))


def gpu_kernel(connection_file: str) -> list[str]:
    """The command of the kernelspec for :data:`GPU`."""
    return [sys.executable, "-m", "perijove.kernel", "-f", connection_file, "--gpu", GPU]


@contextmanager
def home() -> Iterator[Home]:
    """A data directory and environment for a run; its broker and agent are stopped at the end."""
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="perijove-bench-", ignore_cleanup_errors=True) as directory:
        data = Path(directory) / "data"
        environment = {"PERIJOVE_DATA": str(data), "PERIJOVE_SIMULATE": f"{GPU}:{COUNT}"}
        try:
            yield Home(Path(directory), environment)
        finally:
            subprocess.run(
                [sys.executable, "-m", "perijove.cli", "down"],
                env={**os.environ, **environment},
                cwd=directory,
                check=False,
                stdout=subprocess.DEVNULL,
            )


def wait_for_rest(broker: BrokerAddress, held: int = 0) -> None:
    """Until the agent has its spares again and only ``held`` GPUs are held: what starts beside a cell slows it down."""
    time.sleep(REST_S)  # the agent begins to refill, and says so, a quarter of a second after it gave a spare away
    deadline = time.monotonic() + SPARES_WITHIN_S
    while time.monotonic() < deadline:
        status = httpx.get(f"{broker.url}/api/status", headers=broker.headers, trust_env=False, verify=False).json()
        (agent,) = status["agents"]
        if agent["spares"] >= SPARES and sum(gpu["state"] != "free" for gpu in agent["gpus"]) <= held:
            return
        time.sleep(0.1)
    raise TimeoutError(f"the agent had no spares again within {SPARES_WITHIN_S:.0f} s")
