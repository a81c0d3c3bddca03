"""``perijove bill``, and what commands that report something have in common."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..client.find_broker import find_broker
from ..client.http import BrokerClient
from ..wire.models import Bill, BillLine
from ..wire.money import format_dollars

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(app: typer.Typer) -> None:
    app.command()(bill)


def ask(question: Callable[[BrokerClient], Awaitable[Any]]) -> Any:
    """Call the broker's API and wait."""

    async def call() -> Any:
        async with BrokerClient(await find_broker()) as broker:
            return await question(broker)

    return asyncio.run(call())


def bill(
    since: Annotated[str | None, typer.Option(help="From when on, such as 2026-11-01 (UTC).")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A header and a row for each lease.")] = False,
) -> None:
    """What has been used and what it costs, lease by lease."""
    document: Bill = ask(lambda broker: broker.bill(since))
    if as_json:
        print(document.model_dump_json(indent=2))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, list(BillLine.model_fields))
        writer.writeheader()
        writer.writerows(line.model_dump() for line in document.leases)
    else:
        _print_bill(document)


def _print_bill(document: Bill) -> None:
    table = Table("from (UTC)", "GPU", "agent", "starting", "busy", "idle", "cost")
    for line in document.leases:
        table.add_row(
            line.opened_at[:19].replace("T", " "),
            f"{line.count} × {line.gpu}{' (simulated)' if line.simulated else ''}",
            line.agent,
            *(f"{duration / 1000:.1f} s" for duration in (line.starting_ms, line.busy_ms, line.idle_ms)),
            format_dollars(line.cost_nanodollars) + (" simulated" if line.simulated else ""),
        )
    console = Console()
    console.print(table)
    total = f"total {format_dollars(document.total_nanodollars)}"
    if any(line.simulated for line in document.leases):
        total += f" · simulated {format_dollars(document.simulated_nanodollars)}, not in the total"
    console.print(total, highlight=False)
