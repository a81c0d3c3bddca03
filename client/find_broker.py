"""One question, one answer: the broker to talk to, started if it is the embedded one."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .address import BrokerAddress, configured_address
from .embedded import embedded_files, ensure_embedded, running_embedded


async def find_broker(environ: Mapping[str, str] = os.environ) -> BrokerAddress:
    """The configured broker, else the embedded one (see :mod:`.address` for the order).

    Raises:
        BrokerError: saying what is wrong with the configuration, or why the embedded broker does not start.
    """
    return configured_address(environ) or await ensure_embedded(environ)


async def find_running_broker(environ: Mapping[str, str] = os.environ) -> BrokerAddress | None:
    """The same, but an embedded broker that does not run is not started: then there is None.

    Raises:
        BrokerError: saying what is wrong with the configuration.
    """
    return configured_address(environ) or await running_embedded(embedded_files(environ))
