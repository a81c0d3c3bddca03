"""The agent's GPUs: their states, and taking and giving them back. Simulated and real ones side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...wire.models import Gpu, GpuState
from ...wire.usage import GpuSample
from ..errors import GpuUnavailable
from .gpu_lock import GpuLock, acquire, is_locked


class LockKeeper(Protocol):
    """Who holds the locks on after the agent's death (the guard)."""

    def hold(self, name: str, lock_fd: int) -> None: ...
    def let_go(self, name: str) -> None: ...


class Driver(Protocol):
    """The real devices. All calls may block: the pool makes them in a thread."""

    def gpus(self) -> list[Gpu]: ...
    def is_quiet(self, uuid: str) -> bool: ...
    def users(self, uuid: str) -> list[int]:
        """The pids that use a GPU; raises GpuUnavailable when the GPU cannot be asked."""
        ...

    def sample(self, uuid: str) -> GpuSample: ...
    def memory_by_process(self, uuid: str) -> dict[int, int] | None: ...
    def close(self) -> None:
        """Nothing is asked any more: end what it has going on."""
        ...


@dataclass(frozen=True, slots=True)
class Hold:
    """GPUs in a kernel's hand."""

    gpus: tuple[Gpu, ...]
    locks: tuple[GpuLock, ...]

    @property
    def uuids(self) -> list[str]:
        return [gpu.uuid for gpu in self.gpus]

    @property
    def environment(self) -> dict[str, str | None]:
        """What the kernel's environment says about its devices; simulated ones are no devices for any library."""
        real = [gpu.uuid for gpu in self.gpus if not gpu.simulated]
        stand_ins = [gpu.model for gpu in self.gpus if gpu.simulated]
        shown = ",".join(real)
        count = f":{len(stand_ins)}" if len(stand_ins) > 1 else ""
        return {
            "CUDA_VISIBLE_DEVICES": shown,
            "NVIDIA_VISIBLE_DEVICES": shown or "none",
            "PERIJOVE_SIMULATED_GPU": f"{stand_ins[0]}{count}" if stand_ins else None,
        }


_LOOK_AGAIN_AFTER_S = (0.02, 0.05, 0.1, 0.2, 0.4)
NOTHING_HELD = Hold((), ())


class GpuPool:
    """``changed`` is called when a GPU's state changed by itself."""

    def __init__(
        self, simulated: Sequence[Gpu], driver: Driver | None, keeper: LockKeeper, changed: Callable[[], None]
    ) -> None:
        self._gpus = {gpu.uuid: gpu for gpu in simulated}
        self._driver = driver
        self._keeper = keeper
        self._changed = changed
        self._held: set[str] = set()

    def view(self) -> list[Gpu]:
        return [
            gpu.model_copy(update={"state": GpuState.HELD})
            if gpu.uuid in self._held and gpu.state is not GpuState.LOST
            else gpu
            for gpu in self._gpus.values()
        ]

    @property
    def driver(self) -> Driver | None:
        """For those who only look, in a thread of their own."""
        return self._driver

    async def refresh(self) -> None:
        """Look at the real devices again."""
        if self._driver is None:
            return
        before = self.view()
        found = await asyncio.to_thread(_inspect, self._driver, frozenset(self._held))
        simulated = [gpu for gpu in self._gpus.values() if gpu.simulated]
        self._gpus = {gpu.uuid: gpu for gpu in (*found, *simulated)}
        if self.view() != before:
            self._changed()

    async def close(self) -> None:
        if self._driver is not None:
            await asyncio.to_thread(self._driver.close)

    async def hold(self, uuids: Sequence[str]) -> Hold:
        """Take these GPUs, all or none: lock each, then see that it is empty.

        Raises:
            GpuUnavailable: naming the one that is not to be had, and why.
        """
        gpus = [self._known(uuid) for uuid in uuids]
        for gpu in gpus:
            if gpu.uuid in self._held:
                raise GpuUnavailable(f"{gpu.model} {gpu.uuid} is held by another kernel of this agent")
        self._held.update(uuids)
        locks: list[GpuLock] = []
        try:
            for gpu in gpus:
                if not gpu.simulated:
                    locks.append(acquire(gpu.uuid))
            if locks:
                await self._see_empty([lock.uuid for lock in locks])
        except BaseException:
            self._held.difference_update(uuids)
            for lock in locks:
                lock.release()
            raise
        for lock in locks:
            self._keeper.hold(lock.uuid, lock.fd)
        return Hold(tuple(gpus), tuple(locks))

    async def quiet(self, hold: Hold) -> bool:
        """Whether nothing computes on these GPUs; simulated ones never do."""
        real = [gpu.uuid for gpu in hold.gpus if not gpu.simulated]
        if not real or self._driver is None:
            return True
        driver = self._driver
        return await asyncio.to_thread(lambda: all(driver.is_quiet(uuid) for uuid in real))

    def give_back(self, hold: Hold) -> None:
        self._held.difference_update(hold.uuids)
        for lock in hold.locks:
            self._keeper.let_go(lock.uuid)
            lock.release()
        if any(gpu.reason for uuid in hold.uuids if (gpu := self._gpus.get(uuid)) is not None):
            self._changed()  # what came over it while it was held keeps it from being free

    def _known(self, uuid: str) -> Gpu:
        gpu = self._gpus.get(uuid)
        if gpu is None:
            raise GpuUnavailable(f"this agent has no GPU {uuid}")
        if gpu.state in (GpuState.LOST, GpuState.UNHEALTHY):
            raise GpuUnavailable(f"{gpu.model} {uuid} is {gpu.state}: {gpu.reason}")
        return gpu

    async def _see_empty(self, uuids: Sequence[str]) -> None:
        """A process that was just killed is listed by the driver for a moment longer: so look more than once."""
        assert self._driver is not None
        for uuid in uuids:
            for pause_s in (*_LOOK_AGAIN_AFTER_S, None):
                users = await asyncio.to_thread(self._driver.users, uuid)
                if not users:
                    break
                if pause_s is None:
                    raise GpuUnavailable(f"GPU {uuid} is in use by processes of others ({_pids(users)})")
                await asyncio.sleep(pause_s)


def _inspect(driver: Driver, held: frozenset[str]) -> list[Gpu]:
    return [_seen(driver, gpu) if gpu.uuid not in held and gpu.state is GpuState.FREE else gpu for gpu in driver.gpus()]


def _seen(driver: Driver, gpu: Gpu) -> Gpu:
    try:
        users = driver.users(gpu.uuid)
    except GpuUnavailable as error:
        return gpu.model_copy(update={"state": GpuState.LOST, "reason": str(error)})
    if users:
        return gpu.model_copy(update={"state": GpuState.FOREIGN, "reason": f"in use by {_pids(users)}"})
    if is_locked(gpu.uuid):
        return gpu.model_copy(update={"state": GpuState.FOREIGN, "reason": "held by another agent on this host"})
    return gpu


def _pids(pids: Sequence[int]) -> str:
    shown = ", ".join(map(str, pids[:3]))
    return f"process {shown}" if len(pids) == 1 else f"processes {shown}{', …' if len(pids) > 3 else ''}"
