"""``%gpu list`` and ``%gpu bill`` as tables: text for terminals and programs, HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..html_text import html_text
from ..models import Bill
from ..money import cost_nanodollars, format_dollars

SECONDS_PER_HOUR_MS = 3_600_000
MOST_TROUBLES = 5


class Table:
    """Rows of text under headings, with a sentence below.

    ``panel``: the MIME bundle of a widget that shows more, and is shown instead where there are widgets.
    """

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
        self.headings = list(headings)
        self.rows = [list(row) for row in rows]
        self.note = note
        self.panel: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        if not self.rows:
            return self.note
        lines = [self.headings, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.headings))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([*text, *([self.note] if self.note else [])])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**(self.panel or {}), "text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        note = "".join(f"<div>{html_text(line)}</div>" for line in self.note.splitlines())
        if not self.rows:
            return note
        head = "".join(f'<th style="text-align:left">{html_text(cell)}</th>' for cell in self.headings)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{html_text(cell)}</td>' for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def gpu_table(gpus: Sequence[dict[str, Any]], broker: str | None) -> Table:
    """One row for each GPU model and agent: how many, how many free, the price. ``broker`` is its address, if known."""
    groups: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for gpu in gpus:
        groups.setdefault((gpu["model"], str(gpu.get("agent_name", "")), bool(gpu.get("simulated"))), []).append(gpu)
    rows = []
    for (model, agent, simulated), members in sorted(groups.items()):
        free = sum(gpu.get("state") == "free" for gpu in members)
        price = members[0].get("price_microdollars_per_second")
        hourly = "" if price is None else format_dollars(cost_nanodollars(int(price), 1, SECONDS_PER_HOUR_MS)) + "/h"
        memory = f"{members[0]['memory_bytes'] / 2**30:.0f} GiB"
        name = f"{model} (simulated)" if simulated else model
        rows.append(
            [name, memory, str(len(members)), str(free), hourly + (" simulated" if simulated and hourly else ""), agent]
        )
    note = (
        f"broker: {broker or 'this server'}"
        if rows
        else (
            f"{f'the broker at {broker}' if broker else 'this server'} has no GPUs. On a machine with one, run: "
            f"perijove agent --broker {broker or 'URL'} --token-file FILE. "
            "To try without: PERIJOVE_SIMULATE=H100:2 before the notebook starts, or perijove up --simulate H100:2"
        )
    )
    return Table(["GPU", "memory", "number", "free", "price", "agent"], rows, "\n".join([*_troubles(gpus), note]))


def _troubles(gpus: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each GPU on which nothing new may run, or will once its holder lets go of it."""
    ill = [gpu for gpu in gpus if gpu.get("reason") and gpu.get("state") in ("unhealthy", "lost", "held")]
    told = []
    for gpu in ill[:MOST_TROUBLES]:
        state = "held, and takes nothing new" if gpu["state"] == "held" else gpu["state"]
        which = f"{gpu['model']} {gpu.get('place', '')}".rstrip()
        told.append(f"{which} on {gpu.get('agent_name', 'this host')} is {state}: {gpu['reason']}")
    return [*told, *([f"and {len(ill) - len(told)} more in trouble"] if len(ill) > len(told) else [])]


def bill_table(bill: Bill) -> Table:
    """One row for each lease, and the totals below; simulated dollars stand apart."""
    rows = [
        [
            line.opened_at[:19].replace("T", " "),
            (f"{line.count} × " if line.count > 1 else "") + line.gpu + (" (simulated)" if line.simulated else ""),
            line.agent,
            _seconds(line.starting_ms),
            _seconds(line.busy_ms),
            _seconds(line.idle_ms),
            format_dollars(line.cost_nanodollars) + (" simulated" if line.simulated else ""),
            "open" if line.closed_at is None else "",
        ]
        for line in bill.leases
    ]
    note = f"total {format_dollars(bill.total_nanodollars)}"
    if bill.simulated_nanodollars or any(line.simulated for line in bill.leases):
        note += f" · simulated {format_dollars(bill.simulated_nanodollars)}, not in the total"
    return Table(["from (UTC)", "GPU", "agent", "starting", "busy", "idle", "cost", ""], rows, note)


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:.1f} s"
