"""``perijove doctor``: looks at everything that has to be right, and says what is not."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import typer

from .. import __version__
from ..client.address import data_directory
from ..client.find_broker import find_running_broker
from ..client.http import BrokerClient
from ..kernel.kernelspecs import Installed, installed_kernelspecs
from ..wire.errors import PerijoveError

EXTRAS = {
    "broker": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "structlog"),
    "agent": ("pynvml", "psutil", "structlog"),
}
ASKING_PYTHON_S = 20.0
_MODULES_IT_LACKS = """
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""


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
    yield from _kernelspecs()
    try:
        directory = data_directory()
        yield os.access(directory, os.W_OK), f"data directory {directory}"
        yield asyncio.run(_broker())
    except (PerijoveError, OSError) as error:
        yield False, str(error)


def _kernelspecs() -> Iterator[tuple[bool, str]]:
    """A finding for each interpreter and folder that kernelspecs of ours name."""
    found: dict[tuple[Path, Path], list[Installed]] = {}
    for ours in installed_kernelspecs():
        found.setdefault((ours.directory.parent, ours.interpreter), []).append(ours)
    if not found:
        yield True, "no GPU kernel is installed for JupyterLab and VS Code; `perijove install` does it"
    for (folder, interpreter), kernelspecs in found.items():
        names = ", ".join(ours.name for ours in kernelspecs)
        wrong, hint = _about_interpreter(interpreter)
        yield not wrong, f"GPU kernels in {folder}: {names}; {wrong or f'started with {interpreter}{hint}'}"


def _about_interpreter(python: Path) -> tuple[str, str]:
    """What is wrong with the Python that kernelspecs name, and what may be said otherwise."""
    again = "run `perijove install` again, or `perijove uninstall`"
    if not os.access(python, os.X_OK):
        return f"their Python {python} is not there any more: {again}", ""
    command = [str(python), "-P", "-c", _MODULES_IT_LACKS, "perijove", "anywidget"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ASKING_PYTHON_S)
    except (OSError, subprocess.SubprocessError) as error:
        return f"their Python {python} does not run ({error}): {again}", ""
    missing = done.stdout.split()
    if "perijove" in missing:
        return f"their Python {python} has no perijove any more: {again}", ""
    if "anywidget" in missing:
        return "", ", which lacks anywidget: for anywidget's widgets in VS Code, install it there"
    return "", ""


async def _broker() -> tuple[bool, str]:
    address = await find_running_broker()
    if address is None:
        return True, "no broker is configured and the embedded one does not run; a %%gpu cell starts it"
    async with BrokerClient(address) as broker:
        gpus = await broker.gpus()
    return True, f"the broker at {address.url} answers and has {len(gpus)} GPU{'s' if len(gpus) != 1 else ''}"
