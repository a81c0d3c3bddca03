"""``perijove doctor``: looks at everything that has to be right, and says what is not."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
from collections.abc import Iterator

import typer

from .. import __version__
from ..client.address import configured_address, data_directory
from ..client.embedded import embedded_files, running_embedded
from ..client.http import BrokerClient
from ..wire.errors import PerijoveError

EXTRAS = {
    "broker": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "structlog"),
    "agent": ("pynvml", "psutil", "structlog"),
}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor() -> None:
    """Check the installation, the broker and the GPUs; exit status 1 when something is wrong."""
    wrong = 0
    for good, text in _findings():
        print(f"{'ok' if good else 'WRONG':5} {text}")
        wrong += not good
    raise typer.Exit(1 if wrong else 0)


def _findings() -> Iterator[tuple[bool, str]]:
    yield True, f"perijove {__version__}, Python {platform.python_version()}"
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        yield (
            not missing,
            f"the {extra} can run here"
            if not missing
            else f"the {extra} cannot run here without {', '.join(missing)}: pip install 'perijove[{extra}]'",
        )
    try:
        directory = data_directory()
        yield os.access(directory, os.W_OK), f"data directory {directory}"
        yield asyncio.run(_broker())
    except (PerijoveError, OSError) as error:
        yield False, str(error)


async def _broker() -> tuple[bool, str]:
    address = configured_address() or await running_embedded(embedded_files())
    if address is None:
        return True, "no broker is configured and the embedded one does not run; a %%gpu cell starts it"
    async with BrokerClient(address) as broker:
        gpus = await broker.gpus()
    return True, f"the broker at {address.url} answers and has {len(gpus)} GPU{'s' if len(gpus) != 1 else ''}"
