"""The GPUs there are, as people ask for them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .http import BrokerClient

EMBEDDED_AGENT_WITHIN_S = 15.0


async def list_gpus(broker: BrokerClient) -> tuple[list[dict[str, Any]], str]:
    """The broker's GPUs, when its agent has had a moment to tell of them: an embedded one starts beside the broker."""
    deadline = time.monotonic() + EMBEDDED_AGENT_WITHIN_S
    while not (agents := (await broker.status())["agents"]) and broker.address.embedded:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return (await broker.gpus() if agents else []), broker.address.url
