"""Programs that ask the stand-in for NVIDIA's library.

It has to be there before Python starts, so each test runs a program of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .nvml_stand_in import environment_of

H100 = "GPU-11111111-2222-3333-4444-555555555555"
A100 = "GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
BOTH = f"{H100}|NVIDIA H100 80GB HBM3|81559|0|0|\n{A100}|NVIDIA A100-SXM4-40GB|40960|0|0|\n"

Program = Callable[[str], Any]


def programs(library: Path, directory: Path) -> Program:
    """Runs a program with ``state(text)`` to change the driver's world, and gives what it prints as JSON."""
    state = directory / "state"
    state.write_text(BOTH)
    preamble = f"""
import asyncio, json, os, pathlib, sys, threading, time
import structlog
from perijove.remote_agent.gpus.nvidia import Nvidia
from perijove.remote_agent.gpus.pool import GpuPool
from perijove.remote_agent.errors import GpuUnavailable
H100, A100, BOTH = {H100!r}, {A100!r}, {BOTH!r}
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is the answer's
world = pathlib.Path({str(state)!r})
no_driver = world.unlink
figures = pathlib.Path({str(directory / "figures")!r}).write_text
events = pathlib.Path({str(directory / "events")!r})

def state(text):  # all at once: a thread may look at any moment
    new = world.with_suffix(".new")
    new.write_text(text)
    os.replace(new, world)

def report(*lines):
    with events.open("a") as file:
        file.writelines(line + chr(10) for line in lines)

def until(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return found

class Keeper:
    held = []
    def hold(self, name, lock_fd): self.held.append(name)
    def let_go(self, name): self.held.remove(name)

changes = []
in_doubt = threading.Event()
driver = Nvidia(in_doubt.set)
pool = GpuPool([], driver, Keeper(), lambda: changes.append([g.state.value for g in pool.view()]))

async def refused(uuids):
    try:
        await pool.hold(uuids)
    except GpuUnavailable as error:
        return str(error)
"""
    environment = os.environ | environment_of(library, directory)

    def program(body: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", preamble + body], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return program


def asynchronously(body: str) -> str:
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"async def main():\n{indented}\nasyncio.run(main())\n"
