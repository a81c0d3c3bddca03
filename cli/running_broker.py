"""The broker that is there now: commands that only look never start one."""

from __future__ import annotations

from ..client.address import BrokerAddress, configured_address
from ..client.embedded import embedded_files, running_embedded


async def running_broker() -> BrokerAddress | None:
    """The configured broker, or this user's embedded one if it runs.

    Raises:
        PerijoveError: when the configuration cannot be read, or names a broker without a token.
    """
    return configured_address() or await running_embedded(embedded_files())
