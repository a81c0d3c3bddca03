"""The GPU kernel as ``%gpu`` lines see it: the one kernel that the notebook runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..client.gpu_list import list_gpus
from ..wire.commands.run import run_command
from ..wire.errors import UsageError
from ..wire.front.answers import CommandAnswer
from ..wire.gpu_spec import GpuSpec
from ..wire.models import Bill, BudgetScope, By, KernelView, UserLimits
from .remote import Remote

ALREADY_THERE = "this notebook runs on the GPU kernel, so its variables are there already"


async def run_lines(lines: Sequence[str], remote: Remote, answers: list[CommandAnswer]) -> None:
    """Run lines one after the other; what each came to is added to ``answers``.

    Raises:
        PerijoveError: of the first that fails.
    """
    surroundings = KernelSurroundings(remote)
    for line in lines:
        answers.append((await run_command(line, surroundings)).answer)


class KernelSurroundings:
    is_gpu_kernel = True

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._kernel = OwnKernel(remote)

    @property
    def kernels(self) -> Mapping[str, OwnKernel]:
        return {self._kernel.name: self._kernel}

    @property
    def latest(self) -> OwnKernel:
        return self._kernel

    def kernel_for(self, spec: GpuSpec | None) -> OwnKernel:
        return self._kernel

    async def gpus(self) -> tuple[list[dict[str, Any]], str]:
        async with await self._remote.broker() as broker:
            return await list_gpus(broker)

    async def bill(self, *, everything: bool, by: By) -> Bill:
        async with await self._remote.broker() as broker:
            return await broker.bill(kernels=None if everything else self._remote.kernel_ids, by=by)

    async def watch(self) -> None:
        await self._remote.watch()

    async def limits(self) -> UserLimits:
        async with await self._remote.broker() as broker:
            return await broker.limits()

    async def set_limit(self, scope: BudgetScope, nanodollars: int | None) -> UserLimits:
        async with await self._remote.broker() as broker:
            return await broker.set_limit(scope, nanodollars)

    async def get(self, names: Sequence[str]) -> None:
        raise UsageError(ALREADY_THERE)

    async def put(self, names: Sequence[str]) -> None:
        raise UsageError(ALREADY_THERE)


class OwnKernel:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    @property
    def name(self) -> str:
        return "this kernel"

    @property
    def view(self) -> KernelView | None:
        return self._remote.view

    @property
    def view_age_s(self) -> float:
        return self._remote.view_age_s

    async def attach(self, gpu: str | None) -> float | None:
        return await self._remote.attach_in_s(gpu)

    async def release(self) -> None:
        await self._remote.release()

    async def interrupt(self) -> None:
        """Lines wait for the cells before them, so nothing runs."""

    async def restart(self, gpu: str | None) -> None:
        await self._remote.restart(gpu)

    async def keep(self, seconds: int) -> None:
        await self._remote.keep(seconds)

    async def set_budget(self, nanodollars: int | None) -> None:
        await self._remote.set_budget(nanodollars)
