"""What ``%gpu`` lines act on: a notebook with remote kernels, or the one kernel that a notebook runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..gpu_spec import GpuSpec
from ..models import Bill, BudgetScope, By, KernelView, UserLimits


class CommandedKernel(Protocol):
    """One kernel. What it does may raise any PerijoveError, with a sentence for the user."""

    @property
    def name(self) -> str:
        """What the user knows it by."""

    @property
    def view(self) -> KernelView | None:
        """The broker's latest word; None before there was one."""

    @property
    def view_age_s(self) -> float:
        """How long ago that was."""

    async def attach(self, gpu: str | None) -> float | None:
        """Have a GPU, of another spec than so far if one is given; how long that took in seconds, None when one was
        held already."""

    async def release(self) -> None: ...
    async def interrupt(self) -> None: ...
    async def restart(self, gpu: str | None) -> None: ...
    async def keep(self, seconds: int) -> None: ...
    async def set_budget(self, nanodollars: int | None) -> None: ...


class Surroundings(Protocol):
    @property
    def is_gpu_kernel(self) -> bool:
        """Whether the notebook itself runs on the (only) kernel; else it has kernels beside its own."""

    @property
    def kernels(self) -> Mapping[str, CommandedKernel]:
        """By name."""

    @property
    def latest(self) -> CommandedKernel | None:
        """The one that is meant when none is named."""

    def kernel_for(self, spec: GpuSpec | None) -> CommandedKernel:
        """The kernel on such a GPU, made if there is none; of the GPU kernel there is only the one."""

    async def gpus(self) -> tuple[list[dict[str, Any]], str | None]:
        """The broker's GPUs (``/api/gpus``), and its address; None inside the broker, which knows many or none."""

    async def bill(self, *, everything: bool, by: By) -> Bill:
        """Of this notebook, or of all that is the user's; a broker before protocol 1.4 gives no groups."""

    async def watch(self) -> None:
        """Be told from now on what the kernel used last does; whoever shows the answer shows the panel."""

    async def limits(self) -> UserLimits:
        """What the user may spend with all kernels, as of now."""

    async def set_limit(self, scope: BudgetScope, nanodollars: int | None) -> UserLimits:
        """The user's own limit; None removes it."""

    async def get(self, names: Sequence[str]) -> None:
        """Bring variables here."""

    async def put(self, names: Sequence[str]) -> None:
        """Send variables there."""
