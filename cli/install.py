"""``perijove install`` and ``uninstall``: GPU kernels for JupyterLab, VS Code and all that speaks Jupyter."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..client.find_broker import find_running_broker
from ..client.http import BrokerClient
from ..kernel.kernelspecs import (
    Place,
    default_place,
    environment_place,
    install_kernelspec,
    installed_kernelspecs,
    prefix_place,
    uninstall_kernelspecs,
    user_place,
)
from ..wire.errors import InvalidGpuSpec, PerijoveError, UsageError
from ..wire.gpu_spec import GpuSpec, parse_gpu_spec
from ..wire.kernelspec_names import kernelspec_name
from .gpu_option import gpu_spec_option
from .simulate import simulated_gpus

BROKER_WITHIN_S = 3.0
WHEN_NONE_IS_KNOWN = ("H100",)

SysPrefix = Annotated[bool, typer.Option("--sys-prefix", help="In the environment of this Python.")]
User = Annotated[bool, typer.Option("--user", help="For this user, whatever the environment.")]
Prefix = Annotated[Path | None, typer.Option("--prefix", help="In PREFIX/share/jupyter/kernels.")]


def register(app: typer.Typer) -> None:
    app.command()(install)
    app.command()(uninstall)


def install(
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="SPEC",
            help="Such as H100, H100:2 or 'H100|A100'; repeatable. Without it: any GPU, and each model there is now.",
        ),
    ] = None,
    sys_prefix: SysPrefix = False,
    user: User = False,
    prefix: Prefix = None,
) -> None:
    """Offer GPUs as kernels: "GPU · H100" in JupyterLab, VS Code and everything else that speaks Jupyter.

    Without a place they go into the virtual or conda environment that this Python is in, else into your user
    directory. Installing again brings them up to date.
    """
    place = chosen_place(sys_prefix=sys_prefix, user=user, prefix=prefix)
    specs = [gpu_spec_option(text) for text in gpu] if gpu else default_specs()
    for spec in dict.fromkeys(specs):
        try:
            installed, outcome = install_kernelspec(spec, place)
        except InvalidGpuSpec as error:
            raise UsageError(f"--gpu: {error}") from None
        print(f"{outcome:<10} {installed.display_name}  ({installed.name})")
    print(f"in {place.kernels} ({place.what})")
    if not place.is_searched:
        print(f"Jupyter does not look there by itself: start it with JUPYTER_PATH={place.kernels.parent}")


def uninstall(
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", metavar="SPEC", help="Only the kernel for this GPU spec; repeatable.")
    ] = None,
    sys_prefix: SysPrefix = False,
    user: User = False,
    prefix: Prefix = None,
) -> None:
    """Take the GPU kernels away again: those that `perijove install` put into the same place, and no others."""
    place = chosen_place(sys_prefix=sys_prefix, user=user, prefix=prefix)
    names = [kernelspec_name(gpu_spec_option(text)) for text in gpu] if gpu else None
    removed = uninstall_kernelspecs(place, names)
    for ours in removed:
        print(f"removed    {ours.display_name}  ({ours.name})")
    if removed:
        print(f"from {place.kernels} ({place.what})")
    else:
        which = "no kernelspec of Perijove" if names is None else f"no {' or '.join(names)} of Perijove"
        print(f"there is {which} in {place.kernels} ({place.what})")
        _say_where_others_are(place)


def chosen_place(*, sys_prefix: bool, user: bool, prefix: Path | None) -> Place:
    """Where the options say.

    Raises:
        UsageError: when they say two places.
    """
    if sys_prefix + user + (prefix is not None) > 1:
        raise UsageError("--sys-prefix, --user and --prefix each name a place; give one of them, or none")
    if sys_prefix:
        return environment_place()
    if user:
        return user_place()
    return default_place() if prefix is None else prefix_place(prefix)


def default_specs() -> list[GpuSpec]:
    """Any GPU, and each model that can be had now."""
    try:
        models = asyncio.run(_offered_models())
    except (PerijoveError, TimeoutError) as error:
        reason = str(error) or f"no answer within {BROKER_WITHIN_S:.0f} s"
        print(f"perijove: the broker did not say which GPUs it has ({reason}); --gpu names them", file=sys.stderr)
        models = []
    return [parse_gpu_spec("any"), *(parse_gpu_spec(model) for model in models or WHEN_NONE_IS_KNOWN)]


async def _offered_models() -> list[str]:
    """Of the broker that is there; else of this machine, which the embedded broker would offer. Starts nothing."""
    async with asyncio.timeout(BROKER_WITHIN_S):
        address = await find_running_broker()
        if address is None:
            return sorted({model for model, _ in simulated_gpus([])} | set(_models_of_this_machine()))
        async with BrokerClient(address) as broker:
            return sorted({str(gpu["model"]) for gpu in await broker.gpus()})


def _models_of_this_machine() -> list[str]:
    if importlib.util.find_spec("pynvml") is None:
        return []
    from ..remote_agent.gpus.nvidia import Nvidia  # needs the agent's library

    with contextlib.closing(Nvidia()) as driver:
        return [gpu.model for gpu in driver.gpus()]


def _say_where_others_are(place: Place) -> None:
    """Somebody who wants them gone has to know the other places too."""
    for other in (environment_place(), user_place()):
        if other.kernels != place.kernels and (there := installed_kernelspecs([other.kernels])):
            names = ", ".join(ours.name for ours in there)
            print(f"{names} in {other.kernels}: perijove uninstall {other.option}")
