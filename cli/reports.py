"""What commands that report something have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from ..client.find_broker import find_broker
from ..client.http import BrokerClient

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def ask(question: Callable[[BrokerClient], Awaitable[Any]]) -> Any:
    """Call the broker's API and wait."""

    async def call() -> Any:
        async with BrokerClient(await find_broker()) as broker:
            return await question(broker)

    return asyncio.run(call())
