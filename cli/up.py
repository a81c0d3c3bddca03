"""``perijove up`` and ``down``: the broker and an agent on this machine, for this user.

The embedded broker is the same thing, started by the first notebook that needs it and gone when unused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ..client.embedded import EmbeddedFiles, embedded_files, ensure_embedded, running_embedded
from ..wire.errors import PerijoveError
from .event_loop import run_server
from .readiness import url_when_ready
from .simulate import SIMULATE_HELP, simulated_gpus

UNUSED_S = 300.0
ABANDONED_S = 3600.0  # a suspended kernel whose notebook was killed
AGENT_WITHOUT_BROKER_S = 30.0
AGENT_RETRY_S = 1.0
DOWN_WITHIN_S = 15.0


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)


def up(
    simulate: Annotated[list[str] | None, typer.Option(help=SIMULATE_HELP)] = None,
    port: Annotated[int, typer.Option(help="The broker's port; 0 chooses a free one.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Where to keep everything, instead of PERIJOVE_DATA.")] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Return when it runs; `perijove down` stops it.")
    ] = False,
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True)] = False,
) -> None:
    """Start a broker and an agent on this machine; notebooks of this user find them."""
    if data is not None:
        os.environ["PERIJOVE_DATA"] = str(data.resolve())
    gpus = simulated_gpus(simulate or [])
    files = embedded_files()
    running = asyncio.run(running_embedded(files))
    if running is not None:
        print(f"perijove already runs at {running.url}; `perijove down` stops it")
        return
    if background:
        os.environ["PERIJOVE_SIMULATE"] = ",".join(f"{model}:{count}" for model, count in gpus)
        os.environ["PERIJOVE_EMBEDDED_UNUSED_S"] = "inf"
        if port:
            os.environ["PERIJOVE_EMBEDDED_PORT"] = str(port)
        address = asyncio.run(ensure_embedded())
        print(f"perijove runs at {address.url}; the token is in {files.token}")
        return
    unused_s = float(os.environ.get("PERIJOVE_EMBEDDED_UNUSED_S", UNUSED_S)) if embedded else float("inf")
    port = port or int(os.environ.get("PERIJOVE_EMBEDDED_PORT", "0"))
    run_server(_serve(files, gpus, port, unused_s, quiet=embedded))


def down(
    data: Annotated[Path | None, typer.Option(help="Where `perijove up` keeps everything.")] = None,
) -> None:
    """Stop what `perijove up` or a notebook has started, and wait until it is gone."""
    if data is not None:
        os.environ["PERIJOVE_DATA"] = str(data.resolve())
    files = embedded_files()
    # The agent first: it ends its kernels and says so to the broker, which then knows of nothing that might still run.
    stopped = [_stop(pid) for pid in (_agent_pid(files), _broker_pid(files)) if pid]
    if (pid := _agent_pid(files)) is not None:  # one that was started again in between
        _stop(pid)
    files.ready.unlink(missing_ok=True)
    print("perijove is down" if any(stopped) else "perijove was not running")


async def _serve(files: EmbeddedFiles, gpus: list[tuple[str, int]], port: int, unused_s: float, *, quiet: bool) -> None:
    """The broker in this process, the agent in a child that is started again when it ends."""
    from ..broker.ledger.tokens import Role
    from ..broker.server import serve  # the servers' libraries are only needed here
    from ..broker.settings import BrokerSettings
    from .tokens_on_disk import token_in_file

    settings = BrokerSettings(
        port=port or _previous_port(files),
        data_dir=files.directory / "broker",
        price_book=Path(os.environ["PERIJOVE_PRICES"]) if os.environ.get("PERIJOVE_PRICES") else None,
        ready_file=files.ready,
        exit_when_unused_s=None if unused_s == float("inf") else unused_s,
        expect_agents=1,
        abandon_after_s=ABANDONED_S,
    )
    token_in_file(settings, files.token, Role.ADMIN, _user_name())
    token_in_file(settings, files.directory / "agent.token", Role.AGENT, "this machine")
    agent = asyncio.create_task(_keep_agent_running(files, gpus))
    announcement = None if quiet else asyncio.create_task(_announce(files))
    try:
        await serve(settings)
    finally:
        for task in (agent, announcement):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if (pid := _agent_pid(files)) is not None:  # one that a killed broker left behind, and this one took over
            _stop(pid)


async def _keep_agent_running(files: EmbeddedFiles, gpus: list[tuple[str, int]]) -> None:
    """Wait for the broker, then run the agent; one that a killed broker left behind goes on instead."""
    url = await url_when_ready(files.ready)
    command = [sys.executable, "-m", "perijove.cli", "agent", "--broker", url]
    command += ["--token-file", str(files.directory / "agent.token"), "--data", str(files.directory / "agent")]
    command += ["--exit-without-broker", str(AGENT_WITHOUT_BROKER_S)]
    for model, count in gpus:
        command += ["--simulate", f"{model}:{count}"]
    process: asyncio.subprocess.Process | None = None
    try:
        while True:
            process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)
            await process.wait()
            await asyncio.sleep(AGENT_RETRY_S)
    finally:
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), DOWN_WITHIN_S)
            except TimeoutError:
                process.kill()


async def _announce(files: EmbeddedFiles) -> None:
    url = await url_when_ready(files.ready)
    print(f"perijove runs at {url}; the token is in {files.token}. Ctrl-C stops it.", flush=True)


def _previous_port(files: EmbeddedFiles) -> int:
    """The port of the last time, so that an agent which outlived a killed broker finds the new one; else a free one."""
    import socket

    remembered = files.directory / "port"
    try:
        port = int(remembered.read_text("utf-8"))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        remembered.write_text(str(port), "utf-8")
    return port


def _user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a passwd entry
        return f"uid-{os.getuid()}"


def _broker_pid(files: EmbeddedFiles) -> int | None:
    try:
        return int(json.loads(files.ready.read_text("utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _agent_pid(files: EmbeddedFiles) -> int | None:
    """Of the agent that has locked its data directory, or had."""
    try:
        return int((files.directory / "agent" / "agent.lock").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _stop(pid: int) -> bool:
    """End a process of ours gently, then firmly; false when it is not there."""
    if not _is_ours(pid):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_WITHIN_S
    while _is_ours(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise PerijoveError(f"process {pid} did not stop within {DOWN_WITHIN_S:.0f} s and was killed")
        time.sleep(0.02)
    return True


def _is_ours(pid: int) -> bool:
    """Whether the pid is a running perijove process of this user, and not a number that somebody else has got since."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any("perijove" in part for part in process.cmdline())
    except psutil.Error:
        return False
