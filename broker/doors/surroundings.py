"""A hosted kernel as ``%gpu`` lines see it: the one kernel that the notebook runs on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...wire import link
from ...wire.errors import UsageError
from ...wire.gpu_spec import GpuSpec
from ...wire.ids import new_id
from ...wire.models import Bill, BudgetScope, By, KernelView, UserLimits

if TYPE_CHECKING:
    from .hosted import HostedKernel

ALREADY_THERE = "this notebook runs on the GPU kernel, so its variables are there already"


class HostedSurroundings:
    is_gpu_kernel = True

    def __init__(self, hosted: HostedKernel) -> None:
        self._hosted = hosted
        self._kernel = _OwnKernel(hosted)

    @property
    def kernels(self) -> Mapping[str, _OwnKernel]:
        return {self._kernel.name: self._kernel}

    @property
    def latest(self) -> _OwnKernel:
        return self._kernel

    def kernel_for(self, spec: GpuSpec | None) -> _OwnKernel:
        return self._kernel

    async def gpus(self) -> tuple[list[dict[str, Any]], None]:
        return self._hosted.gpus(), None

    async def bill(self, *, everything: bool, by: By) -> Bill:
        return await self._hosted.bill(everything=everything, by=by)

    async def watch(self) -> None:
        self._hosted.watch()

    async def limits(self) -> UserLimits:
        return self._hosted.limits()

    async def set_limit(self, scope: BudgetScope, nanodollars: int | None) -> UserLimits:
        return await self._hosted.set_limit(scope, nanodollars)

    async def get(self, names: Sequence[str]) -> None:
        raise UsageError(ALREADY_THERE)

    async def put(self, names: Sequence[str]) -> None:
        raise UsageError(ALREADY_THERE)


class _OwnKernel:
    name = "this kernel"

    def __init__(self, hosted: HostedKernel) -> None:
        self._hosted = hosted

    @property
    def view(self) -> KernelView | None:
        return self._hosted.view

    @property
    def view_age_s(self) -> float:
        return 0.0

    async def attach(self, gpu: str | None) -> float | None:
        lease, started = self._lease_id, time.monotonic()
        await self._hosted.ask(link.AttachRequest(request_id=new_id("request"), gpu=gpu))
        return None if lease is not None and lease == self._lease_id else time.monotonic() - started

    @property
    def _lease_id(self) -> str | None:
        view = self.view
        return view.lease.id if view is not None and view.lease is not None else None

    async def release(self) -> None:
        await self._hosted.ask(link.ReleaseRequest(request_id=new_id("request")))

    async def interrupt(self) -> None:
        """Lines wait for the cells before them, so nothing runs."""

    async def restart(self, gpu: str | None) -> None:
        await self._hosted.ask(link.RestartRequest(request_id=new_id("request"), gpu=gpu))

    async def keep(self, seconds: int) -> None:
        await self._hosted.ask(link.KeepRequest(request_id=new_id("request"), seconds=seconds))

    async def set_budget(self, nanodollars: int | None) -> None:
        await self._hosted.ask(link.BudgetRequest(request_id=new_id("request"), nanodollars=nanodollars))
