"""``/api/kernelspecs``: a kernel for any GPU, and one for each model that the agents have."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from ...wire.errors import BrokerError, InvalidGpuSpec, PerijoveError
from ...wire.gpu_spec import GpuSpec, parse_gpu_spec
from ...wire.kernelspec_names import ANY_GPU, display_name, kernelspec_name, spec_in_name
from ...wire.logos import LOGO_FILES, MEDIA_TYPES, logo
from ..broker import Broker
from .access import AsUser, TheBroker

router = APIRouter(tags=["kernelspecs"])


class NoSuchKernelspec(BrokerError):
    code = "no_such_kernelspec"


@router.get("/api/kernelspecs")
async def list_kernelspecs(broker: TheBroker, _: AsUser) -> dict[str, Any]:
    return {
        "default": ANY_GPU,
        "kernelspecs": {kernelspec_name(spec): _document(spec) for spec in offered_specs(broker)},
    }


@router.get("/api/kernelspecs/{name}")
async def get_kernelspec(name: str, _: AsUser) -> dict[str, Any]:
    """Also of one that is not listed: any GPU spec has a name."""
    return _document(spec_of(name))


@router.get("/kernelspecs/{name}/{file}")
async def get_logo(name: str, file: str) -> Response:
    """The same for all, and public."""
    if file not in LOGO_FILES:
        raise NoSuchKernelspec(f"there is no {file[:50]!r} of a kernelspec; there are {', '.join(LOGO_FILES)}")
    media_type = MEDIA_TYPES[file[file.rindex(".") :]]
    return Response(logo(file), media_type=media_type, headers={"Cache-Control": "max-age=86400"})


def spec_of(name: str) -> GpuSpec:
    """
    Raises:
        NoSuchKernelspec: when a name is not that of a GPU kernel.
    """
    if name != ANY_GPU and not name.startswith(f"{ANY_GPU}-"):
        raise NoSuchKernelspec(f"there is no kernel {name[:100]!r} here; /api/kernelspecs lists those there are")
    try:
        return parse_gpu_spec(spec_in_name(name))
    except InvalidGpuSpec as error:
        raise NoSuchKernelspec(f"the kernel name {name[:100]!r} names no GPU: {error}") from None


def offered_specs(broker: Broker) -> list[GpuSpec]:
    models = {gpu.model for agent in broker.fleet.agents.values() for gpu in agent.gpus.values()}
    specs = [parse_gpu_spec("any")]
    for model in sorted(models):
        try:
            specs.append(parse_gpu_spec(model))
            kernelspec_name(specs[-1])
        except PerijoveError:
            continue  # a model whose name cannot be asked for
    return specs


def _document(spec: GpuSpec) -> dict[str, Any]:
    name = kernelspec_name(spec)
    return {
        "name": name,
        "spec": {
            "argv": ["python", "-m", "perijove.kernel", "-f", "{connection_file}", "--gpu", str(spec)],
            "display_name": display_name(spec),
            "language": "python",
            "interrupt_mode": "message",
            "env": {},
            "metadata": {"debugger": True, "perijove": {"gpu": str(spec)}},
        },
        "resources": {file.rpartition(".")[0]: f"/kernelspecs/{name}/{file}" for file in LOGO_FILES},
    }
