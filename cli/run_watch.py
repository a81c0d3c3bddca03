"""What the broker knows about the kernel of a ``perijove run``: where it stands, and in the end what it cost.

The run's kernel is started like any front-end's, so the broker is asked about it from outside, by the name that the run
gave it. A kernel that the broker had to end and make again has the same name, so that its cost counts too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..client.find_broker import find_running_broker
from ..client.http import BrokerClient
from ..wire.errors import PerijoveError
from ..wire.models import BillLine, KernelView

LOOK_EVERY_S = 1.0
CLOSED_WITHIN_S = 10.0
POLL_S = 0.1
CLOCKS_DIFFER_BY_AT_MOST = timedelta(days=1)


class RunWatch:
    """Follows the kernels of one name at the broker. The broker may not be there yet, and may be away for a while."""

    def __init__(self, kernel_name: str) -> None:
        self._kernel_name = kernel_name
        self._views: dict[str, KernelView] = {}
        self._client: BrokerClient | None = None

    @property
    def view(self) -> KernelView | None:
        """The latest kernel's, as last seen."""
        return next(reversed(self._views.values()), None)

    @property
    def spent_nanodollars(self) -> int:
        return sum(view.spent_nanodollars for view in self._views.values())

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        try:
            broker = await self._broker()
            status = {} if broker is None else await broker.status()
        except PerijoveError:
            return  # the kernel itself says in its cells what is wrong
        for kernel in status.get("kernels", []):
            if kernel["name"] == self._kernel_name:
                self._views[kernel["id"]] = KernelView.model_validate(kernel)

    async def leases(self, since: datetime) -> list[BillLine]:
        """The run's leases as the bill has them, once they are closed.

        Raises:
            PerijoveError: when the broker cannot be asked.
        """
        if not self._views:
            return []
        earliest = (since - CLOCKS_DIFFER_BY_AT_MOST).isoformat()  # a lease that began before it would be clipped
        lines: list[BillLine] = []
        broker = await self._broker()
        if broker is None:
            raise PerijoveError("the broker does not run any more")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_WITHIN_S):
                while True:
                    lines = (await broker.bill(earliest, list(self._views))).leases
                    if all(line.closed_at for line in lines):
                        break
                    await asyncio.sleep(POLL_S)
        return lines

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _broker(self) -> BrokerClient | None:
        address = await find_running_broker()
        if address is None or (self._client is not None and self._client.address == address):
            return self._client
        if self._client is not None:  # the embedded broker was started again, elsewhere
            await self._client.close()
        self._client = BrokerClient(address)
        return self._client


def cost_metadata(leases: Sequence[BillLine]) -> dict[str, Any]:
    """What a run held and what it cost, for the notebook's metadata.

    ``cost_nanodollars`` is real money, or simulated dollars where ``simulated`` says so; where a run had both kinds of
    GPU, the simulated dollars are only in its leases.
    """
    simulated = bool(leases) and all(lease.simulated for lease in leases)
    counted = [lease for lease in leases if lease.simulated == simulated]
    return {
        "gpu": ", ".join(dict.fromkeys(_gpus(lease) for lease in leases)) or None,
        "agent": ", ".join(dict.fromkeys(lease.agent for lease in leases)) or None,
        "simulated": simulated,
        "seconds": {
            "starting": sum(lease.starting_ms for lease in leases) / 1000,
            "busy": sum(lease.busy_ms for lease in leases) / 1000,
            "idle": sum(lease.idle_ms for lease in leases) / 1000,
        },
        "currency": "USD",
        "cost_nanodollars": sum(lease.cost_nanodollars for lease in counted),
        "leases": [lease.model_dump(mode="json", exclude={"user", "kernel"}) for lease in leases],
    }


def _gpus(lease: BillLine) -> str:
    return lease.gpu if lease.count == 1 else f"{lease.gpu}:{lease.count}"


def utc_text(moment: datetime) -> str:
    """ISO 8601, to the millisecond: ``2026-11-24T01:02:03.004Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
