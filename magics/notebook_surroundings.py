"""A local notebook as ``%gpu`` lines see it: the remote kernels beside its own.

Everything here blocks the notebook's main thread, which shows progress and can be interrupted; nothing awaits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..client.gpu_list import list_gpus
from ..wire.errors import UsageError
from ..wire.gpu_spec import GpuSpec
from ..wire.models import Bill, BudgetScope, By, KernelView, UserLimits
from .cell_options import check_names
from .notebook import Notebook
from .remote_kernel import RemoteKernel


class NotebookSurroundings:
    is_gpu_kernel = False

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    @property
    def kernels(self) -> Mapping[str, NotebooksKernel]:
        return {name: NotebooksKernel(kernel) for name, kernel in self._notebook.kernels.items()}

    @property
    def latest(self) -> NotebooksKernel | None:
        return None if self._notebook.latest is None else NotebooksKernel(self._notebook.latest)

    def kernel_for(self, spec: GpuSpec | None) -> NotebooksKernel:
        return NotebooksKernel(self._notebook.kernel_for(spec, None))

    async def gpus(self) -> tuple[list[dict[str, Any]], str]:
        return self._notebook.ask_broker(list_gpus)  # type: ignore[no-any-return]

    async def bill(self, *, everything: bool, by: By) -> Bill:
        ids = None if everything else self._notebook.kernel_ids
        bill: Bill = self._notebook.ask_broker(lambda broker: broker.bill(kernels=ids, by=by))
        return bill

    async def watch(self) -> None:
        """A panel that is shown is told everything."""

    async def limits(self) -> UserLimits:
        limits: UserLimits = self._notebook.ask_broker(lambda broker: broker.limits())
        return limits

    async def set_limit(self, scope: BudgetScope, nanodollars: int | None) -> UserLimits:
        limits: UserLimits = self._notebook.ask_broker(lambda broker: broker.set_limit(scope, nanodollars))
        return limits

    async def get(self, names: Sequence[str]) -> None:
        self._latest().sync.fetch(_checked("get", names))

    async def put(self, names: Sequence[str]) -> None:
        self._latest().sync.push(_checked("put", names))

    def _latest(self) -> RemoteKernel:
        assert self._notebook.latest is not None  # asked for before
        return self._notebook.latest


class NotebooksKernel:
    """One remote kernel of the notebook's."""

    def __init__(self, kernel: RemoteKernel) -> None:
        self._kernel = kernel

    @property
    def name(self) -> str:
        return self._kernel.name

    @property
    def view(self) -> KernelView | None:
        return self._kernel.view

    @property
    def view_age_s(self) -> float:
        return self._kernel.view_age_s

    async def attach(self, gpu: str | None) -> float | None:
        self._kernel.attach()
        return self._kernel.attach_s

    async def release(self) -> None:
        self._kernel.release()

    async def interrupt(self) -> None:
        self._kernel.interrupt()

    async def restart(self, gpu: str | None) -> None:
        self._kernel.restart()

    async def keep(self, seconds: int) -> None:
        self._kernel.keep(seconds)

    async def set_budget(self, nanodollars: int | None) -> None:
        self._kernel.set_budget(nanodollars)


def _checked(command: str, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise UsageError(f"%gpu {command} takes names of variables, like %gpu {command} weights")
    return check_names(list(names), f"%gpu {command}")
