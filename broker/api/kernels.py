"""``/api/kernels``: Jupyter's kernel API, with our ``perijove`` object in requests and answers."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from ...wire import notebook_path
from ...wire.errors import BrokerError, KernelNotFound
from ...wire.gpu_spec import parse_gpu_spec
from ...wire.ids import new_kernel_id
from ...wire.kernelspec_names import ANY_GPU, LEGAL_NAME
from ...wire.link import MOST_KEEP_S, BudgetRequest, KeepRequest, ReleaseRequest
from ...wire.models import KernelState
from ...wire.money import MOST_BUDGET_NANODOLLARS, NANODOLLARS_PER_DOLLAR, dollars_to_nanodollars
from ...wire.usage import KernelUsage
from ..broker import Broker
from ..core.events import ApiAsked, KernelCreated, KernelDeleted
from ..core.records import Kernel
from ..ledger.tokens import Identity
from .access import AsUser, TheBroker, visible_kernel, visible_to
from .documents import kernel_document
from .kernelspecs import spec_of

router = APIRouter(prefix="/api/kernels", tags=["kernels"])

MEMBERS_SHOWN = 64


class KernelWishes(BaseModel):
    """What a kernel is to be given, once it attaches."""

    model_config = ConfigDict(extra="ignore")

    gpu: Annotated[str, Field(max_length=200)] | None = None
    budget: Annotated[Decimal, Field(ge=0, le=MOST_BUDGET_NANODOLLARS // NANODOLLARS_PER_DOLLAR)] | None = (
        None  # dollars
    )
    idle_timeout: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] | None = None  # seconds
    notebook: Annotated[str, Field(max_length=notebook_path.MOST_CHARACTERS)] = ""  # the path of its file


class NewKernel(BaseModel):
    """Jupyter's body. ``env`` is for its clients' sake: a remote process takes its environment from its agent."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=100)] | None = None
    env: dict[str, str] = Field(default_factory=dict)
    perijove: KernelWishes = Field(default_factory=KernelWishes)


class NewBudget(BaseModel):
    """What a kernel may cost altogether, in dollars; None: no limit. A text keeps every digit."""

    model_config = ConfigDict(extra="forbid")

    dollars: Annotated[Decimal, Field(ge=0, le=MOST_BUDGET_NANODOLLARS // NANODOLLARS_PER_DOLLAR)] | None


class MoreTime(BaseModel):
    """How much longer than by idleness its GPU is to be kept, in seconds."""

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[int, Field(gt=0, le=MOST_KEEP_S)]


class TooManyKernels(BrokerError):
    code = "too_many_kernels"


@router.get("")
async def list_kernels(broker: TheBroker, identity: AsUser) -> list[dict[str, Any]]:
    return [kernel_document(broker, kernel) for kernel in broker.fleet.living_kernels(visible_to(identity))]


@router.post("", status_code=201)
async def create_kernel(body: NewKernel, broker: TheBroker, identity: AsUser, response: Response) -> dict[str, Any]:
    """A new kernel, detached and free. A spec that cannot be read is refused now, one that cannot be met at attach."""
    kernel = await start_kernel(body, broker, identity)
    response.headers["Location"] = f"/api/kernels/{kernel.id}"
    return kernel_document(broker, kernel)


async def start_kernel(body: NewKernel, broker: Broker, identity: Identity) -> Kernel:
    """
    Raises:
        NoSuchKernelspec: when the name is not that of a GPU kernel, and no GPU spec says what is wanted.
        InvalidGpuSpec: when the spec cannot be read.
        TooManyKernels: when the user has enough.
    """
    name = body.name or ANY_GPU
    if not LEGAL_NAME.match(name):
        raise HTTPException(400, "a kernel's name has up to 100 letters, digits, dots, dashes and underscores")
    spec = spec_of(name) if body.perijove.gpu is None else parse_gpu_spec(body.perijove.gpu)
    if len(broker.fleet.living_kernels(identity.name)) >= broker.settings.kernels_per_user:
        raise TooManyKernels(
            f"you have {broker.settings.kernels_per_user} kernels, which is the most; end one that you no longer use"
        )
    timeout = body.perijove.idle_timeout
    timeout_ms = None if timeout is None else round(timeout * 1000)
    budget = None if body.perijove.budget is None else dollars_to_nanodollars(str(body.perijove.budget))
    kernel_id = new_kernel_id()
    notebook = body.perijove.notebook
    broker.happen(KernelCreated(kernel_id, identity.name, name, spec, timeout_ms, budget, notebook))
    await broker.ledger.durable()  # a kernel that was promised is known after a restart
    kernel = broker.fleet.kernel(kernel_id)
    if kernel is None:
        raise KernelNotFound(f"kernel {kernel_id} was ended while it was made")
    return kernel


def no_such_kernel(kernel_id: str) -> KernelNotFound:
    return KernelNotFound(f"there is no kernel {kernel_id[:MEMBERS_SHOWN]} here; it may have been ended elsewhere")


def _visible(broker: Broker, identity: Identity, kernel_id: str) -> Kernel:
    kernel = visible_kernel(broker, identity, kernel_id)
    if kernel is None:
        raise no_such_kernel(kernel_id)
    return kernel


@router.get("/{kernel_id}")
async def get_kernel(kernel_id: str, broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    return kernel_document(broker, _visible(broker, identity, kernel_id))


@router.get("/{kernel_id}/usage")
async def get_usage(kernel_id: str, broker: TheBroker, identity: AsUser) -> KernelUsage:
    """What its processes and its GPUs have done for the last five minutes, a sample a second."""
    return broker.usage.of_kernel(_visible(broker, identity, kernel_id), broker.now())


@router.delete("/{kernel_id}", status_code=204)
async def delete_kernel(kernel_id: str, broker: TheBroker, identity: AsUser) -> None:
    """End it, whatever it does; its GPU is free as soon as its agent has heard of it."""
    _visible(broker, identity, kernel_id)
    broker.happen(KernelDeleted(kernel_id))
    broker.doors.ended(kernel_id)
    await broker.ledger.durable()


@router.post("/{kernel_id}/interrupt", status_code=204)
async def interrupt_kernel(kernel_id: str, broker: TheBroker, identity: AsUser) -> None:
    """Interrupt what runs, or stop waiting for a GPU."""
    broker.doors.interrupt(_visible(broker, identity, kernel_id))


@router.post("/{kernel_id}/release", status_code=202)
async def release_kernel(kernel_id: str, broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    """Give its GPU back, or stop waiting for one; variables are kept where that is possible. Done when its state says
    so, which takes as long as its memory needs to be saved."""
    kernel = _visible(broker, identity, kernel_id)
    if kernel.lease is not None or kernel.state is KernelState.QUEUED:
        broker.happen(ApiAsked(kernel.id, ReleaseRequest(request_id=_request_id())))
    return kernel_document(broker, kernel)


@router.post("/{kernel_id}/keep")
async def keep_gpu(kernel_id: str, body: MoreTime, broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    """Do not give its GPU back by idleness for so much longer, up to an hour from now. Where it holds none: nothing."""
    kernel = _visible(broker, identity, kernel_id)
    broker.happen(ApiAsked(kernel.id, KeepRequest(request_id=_request_id(), seconds=body.seconds)))
    return kernel_document(broker, kernel)


@router.put("/{kernel_id}/budget")
async def set_budget(kernel_id: str, body: NewBudget, broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    """What it may cost altogether. Holds at once, and after a restart."""
    kernel = _visible(broker, identity, kernel_id)
    nanodollars = None if body.dollars is None else dollars_to_nanodollars(str(body.dollars))
    broker.happen(ApiAsked(kernel.id, BudgetRequest(request_id=_request_id(), nanodollars=nanodollars)))
    await broker.ledger.durable()
    return kernel_document(broker, kernel)


def _request_id() -> str:
    """No client's: a kernel's own client does not know it and passes over the reply."""
    return f"api-{uuid.uuid4().hex}"


@router.post("/{kernel_id}/restart")
async def restart_kernel(kernel_id: str, broker: TheBroker, identity: AsUser) -> dict[str, Any]:
    """A new process, on the GPU that is held if there is one. Nothing attaches by it."""
    kernel = _visible(broker, identity, kernel_id)
    await broker.doors.restart(kernel)
    return kernel_document(broker, kernel)
