"""``perijove audit``: who attached, released, changed budgets, made tokens and ended kernels."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..wire.money import format_dollars
from .reports import JsonOption, ask

MOST_ENTRIES = 1000  # that one answer of the broker holds


def register(app: typer.Typer) -> None:
    app.command()(audit)


def audit(
    since: Annotated[str | None, typer.Option(help="From when on, such as 2026-11-01 (UTC).")] = None,
    limit: Annotated[int, typer.Option(help="How many of the newest entries.", min=1, max=MOST_ENTRIES)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Who did what: attaches, releases, budgets, tokens, kernels. An admin's token shows everybody's."""
    entries: list[dict[str, Any]] = ask(lambda broker: broker.audit(since, limit))
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    table = Table("when (UTC)", "who", "how", "what", "whose", "kernel", "")
    for entry in entries:
        # Names are shown as they are: nobody's name colours an operator's terminal.
        when = entry["at"][:19].replace("T", " ")
        row = (when, entry["actor"], entry["via"], entry["action"].replace("_", " "), entry["user"], entry["kernel_id"])
        table.add_row(*(Text(cell) for cell in row), Text(_in_words(entry["detail"])))
    Console().print(table)


def _in_words(detail: dict[str, Any]) -> str:
    parts = []
    if "count" in detail:
        simulated = " (simulated)" if detail.get("simulated") else ""
        parts.append(f"{detail['count']} × {detail['gpu']}{simulated} on {detail['agent']}")
    elif "gpu" in detail:
        parts.append(str(detail["gpu"]))
    if "cost_nanodollars" in detail:
        parts.append(f"{detail['ran_ms'] / 1000:.1f} s, {format_dollars(detail['cost_nanodollars'])}")
    if "budget_nanodollars" in detail:
        budget = detail["budget_nanodollars"]
        scope = {"user": "total ", "month": "month's ", "kernel": "each kernel's "}.get(detail.get("scope", ""), "")
        parts.append(f"no {scope}budget" if budget is None else f"{scope}budget {format_dollars(budget)}")
    if "role" in detail:
        parts.append(f"role {detail['role']}, for {detail['name']}")
    if "why" in detail:
        parts.append(str(detail["why"]).replace("_", " "))
    return "; ".join(parts)
