"""``perijove bill``: what was used and what it costs, as the broker has it, or as a saved notebook's receipt has it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ..wire.commands.bars import PHASES, SHAPES, Bars, bars_of, text_lines
from ..wire.commands.bill import BYS, budget_lines
from ..wire.commands.tables import Table, bill_table, groups_table
from ..wire.errors import BrokerError, UsageError
from ..wire.models import Bill, BillGroup, BillLine, By
from .receipts import notebook_receipt, receipt_table
from .reports import JsonOption, ask

COLOURS = {"starting": "yellow", "busy": "bright_blue", "idle": "blue"}
GROUP_COLUMNS = [name for name in BillGroup.model_fields if not name.endswith("_by_phase")]


def register(app: typer.Typer) -> None:
    app.command()(bill)


def bill(
    notebook: Annotated[
        Path | None, typer.Argument(metavar="NOTEBOOK", help="What this saved notebook has cost, by its own receipt.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="From when on, such as 2026-11-01 (UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Until when, such as 2026-12-01 (UTC).")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="|".join(BYS), help="Break it down, and draw it.")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A header and a row for each lease, or each group.")] = False,
) -> None:
    """What has been used and what it costs, lease by lease or by day, GPU, kernel, notebook or user."""
    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms of the same bill; give one of them")
    if notebook is not None:
        if since is not None or until is not None or by is not None or as_csv:
            raise UsageError("a notebook's receipt is printed as it is; of the options only --json goes with it")
        _print_receipt(notebook, as_json=as_json)
        return
    asked = _read_by(by)
    drawn = asked or (None if as_json or as_csv else "day")
    document: Bill = ask(lambda broker: broker.bill(since, until=until, by=drawn))
    if asked is not None and document.by is None:
        raise BrokerError("this broker is too old to break a bill down; upgrade it, or leave --by out")
    if as_json:
        print(document.model_dump_json(indent=2))
    elif as_csv:
        write_csv(document, sys.stdout)
    else:
        _print_bill(document, asked)


def _read_by(text: str | None) -> By | None:
    if text is None:
        return None
    for by in BYS:
        if by == text:
            return by
    raise UsageError(f"--by takes one of {', '.join(BYS)}, and not {text!r}")


def write_csv(document: Bill, to: TextIO) -> None:
    """A header, and a row for each group of a bill that is broken down, or else for each lease."""
    columns, rows = GROUP_COLUMNS, [group.model_dump(include=set(GROUP_COLUMNS)) for group in document.groups]
    if document.by is None:
        columns, rows = list(BillLine.model_fields), [line.model_dump() for line in document.leases]
    writer = csv.DictWriter(to, columns)
    writer.writeheader()
    writer.writerows(_as_text(row) for row in rows)


def _as_text(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook or a user is called is no formula of whoever opens this in a spreadsheet."""
    return {name: f"'{value}" if str(value)[:1] in tuple("=+-@\t\r") else value for name, value in row.items()}


def _print_bill(document: Bill, by: By | None) -> None:
    console = Console()
    _print_table(console, bill_table(document) if by is None else groups_table(document), budget_lines(document))
    bars = bars_of(document)
    if bars is not None:
        console.print()
        for line in bar_lines(bars, min(console.width, 100)):
            console.print(line, no_wrap=True, overflow="ellipsis")


def _print_receipt(path: Path, *, as_json: bool) -> None:
    receipt = notebook_receipt(path)
    if as_json:
        print(json.dumps(receipt.model_dump(mode="json"), indent=2))
        return
    _print_table(Console(), receipt_table(receipt), [f"by the notebook's own receipt, as of {receipt.as_of or '?'}"])


def _print_table(console: Console, table: Table, lines: Iterable[str]) -> None:
    if table.rows:
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        columns = [(heading, [row[place] for row in table.rows]) for place, heading in enumerate(table.headings)]
        columns = [(heading, cells) for heading, cells in columns if heading or any(cells)]
        for heading, cells in columns:
            is_text = heading not in ("starting", "busy", "idle", "cost", "saved")
            shown.add_column(
                heading,
                justify="left" if is_text else "right",
                min_width=min(10, max(len(word) for cell in [heading, *cells] for word in cell.split() or [""])),
                no_wrap=heading in ("starting", "busy", "idle"),
                overflow="fold",
            )
        for row in zip(*(cells for _, cells in columns), strict=True):
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)
    for line in (table.note, *lines):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def bar_lines(bars: Bars, width: int) -> list[Text]:
    """The bars in colours that follow their shapes."""
    title = Text(f"{bars.title}  ")
    for phase in PHASES:
        title.append(SHAPES[phase], COLOURS[phase])
        title.append(f" {phase}  ")
    lines = [title]
    for beside, parts in text_lines(bars, width):
        line = Text(f"{beside}  ")
        for phase, part in zip(PHASES, parts, strict=True):
            line.append(part, COLOURS[phase])
        lines.append(line)
    return [*lines, *([Text(bars.note, "dim")] if bars.note else [])]
