"""``perijove broker`` and ``perijove agent``: the two servers, each on its own machine."""

from __future__ import annotations

import asyncio
import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from ..client.address import data_directory
from ..wire.errors import UsageError
from .event_loop import run_server
from .readiness import url_when_ready
from .simulate import SIMULATE_HELP, simulated_gpus

BROKER_PORT = 8787


def register(app: typer.Typer) -> None:
    app.command()(broker)
    app.command()(agent)


def broker(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 chooses a free one.")] = BROKER_PORT,
    data: Annotated[Path | None, typer.Option(help="Where to keep the ledger.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")] = False,
    database_url: Annotated[
        str | None, typer.Option(help="Another database than SQLite in the data directory.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="A price book (TOML) over the default one.")] = None,
    metrics_without_token: Annotated[
        bool, typer.Option("--metrics-without-token", help="Programs on this machine may read /metrics.")
    ] = False,
) -> None:
    """Run a broker. Make tokens with `perijove token create`."""
    from ..broker.server import serve  # the broker's libraries are only needed here
    from ..broker.settings import BrokerSettings

    directory = data or data_directory() / "broker"
    settings = BrokerSettings(
        host=host,
        port=port,
        data_dir=directory,
        insecure=insecure,
        database_url=database_url,
        price_book=prices,
        metrics_without_token=metrics_without_token,
        ready_file=directory / "broker.json",
    )

    async def run() -> None:
        announcement = asyncio.create_task(_announce(directory / "broker.json"))
        try:
            await serve(settings)
        finally:
            announcement.cancel()

    run_server(run())


async def _announce(ready_file: Path) -> None:
    print(f"the broker listens at {await url_when_ready(ready_file)}; Ctrl-C stops it", flush=True)


def agent(
    broker: Annotated[str, typer.Option(help="The broker's address.")],
    token_file: Annotated[Path, typer.Option(help="A file that holds an agent's token.")],
    simulate: Annotated[list[str] | None, typer.Option(help=SIMULATE_HELP)] = None,
    name: Annotated[str | None, typer.Option(help="This machine's name for people.")] = None,
    spares: Annotated[int, typer.Option(help="How many kernels wait ready.", min=0, max=64)] = 2,
    data: Annotated[Path | None, typer.Option(help="Where to keep spools.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Dial plain HTTP beyond this machine.")] = False,
    exit_without_broker: Annotated[float | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run an agent on a GPU machine. It only dials out.

    SIGTERM ends it and all that runs there at once; SIGUSR1 before that has it take no new work.
    """
    from ..remote_agent.agent import run_agent  # the agent's libraries are only needed here
    from ..remote_agent.settings import AgentSettings

    try:
        token = token_file.read_text("utf-8").strip()
    except OSError as error:
        raise UsageError(f"--token-file {token_file} cannot be read: {error.strerror}") from None
    settings = AgentSettings(
        broker_url=broker.rstrip("/"),
        token=token,
        data_dir=data or data_directory() / "agent",
        name=name or platform.node() or f"host-{os.getpid()}",
        simulate=tuple(simulated_gpus(simulate or [])),
        spares=spares,
        insecure=insecure,
        exit_without_broker_s=exit_without_broker,
    )
    run_agent(settings)
