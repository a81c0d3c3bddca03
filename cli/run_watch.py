"""What the broker knows about the kernel of a ``perijove run``: where it stands, and in the end what it cost.

The run's kernel is started like any front-end's, so the broker is asked about it from outside, by the name that the run
gave it. A kernel that the broker had to end and make again has the same name, so that its cost counts too.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

from ..client.find_broker import find_running_broker
from ..client.http import BrokerClient
from ..wire.errors import PerijoveError
from ..wire.models import Bill, KernelView, Receipt

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

    async def bill(self, since: datetime) -> Bill:
        """The bill of the run's kernels, once their leases are closed.

        Raises:
            PerijoveError: when the broker cannot be asked.
        """
        if not self._views:
            return Bill(total_nanodollars=0, simulated_nanodollars=0, as_of=utc_text(datetime.now(UTC)))
        earliest = (since - CLOCKS_DIFFER_BY_AT_MOST).isoformat()  # a lease that began before it would be clipped
        bill: Bill | None = None
        broker = await self._broker()
        if broker is None:
            raise PerijoveError("the broker does not run any more")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_WITHIN_S):
                while True:
                    bill = await broker.bill(earliest, list(self._views))
                    if all(line.closed_at for line in bill.leases):
                        break
                    await asyncio.sleep(POLL_S)
        if bill is None:
            raise PerijoveError(f"the broker has not answered for {CLOSED_WITHIN_S:.0f} s")
        return bill

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


def cost_metadata(bill: Bill) -> dict[str, Any]:
    """A run's receipt, for the notebook's metadata."""
    return Receipt.of(bill).model_dump(mode="json")


def utc_text(moment: datetime) -> str:
    """ISO 8601, to the millisecond: ``2026-11-24T01:02:03.004Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
