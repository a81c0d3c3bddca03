"""``%gpu list`` and bills as tables: text for terminals and programs, HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..html_text import html_text
from ..models import Bill
from ..money import amount_text, cost_nanodollars, format_dollars

SECONDS_PER_HOUR_MS = 3_600_000
MOST_TROUBLES = 5
NOT_KNOWN = "(not known)"


class Table:
    """Rows of text under headings, with a sentence below."""

    metadata: Mapping[str, Any] = MappingProxyType({})  # of the output that shows it

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
        self.headings = list(headings)
        self.rows = [list(row) for row in rows]
        self.note = note

    def __repr__(self) -> str:
        if not self.rows:
            return self.note
        lines = [self.headings, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.headings))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([*text, *([self.note] if self.note else [])])

    def bundle(self) -> dict[str, Any]:
        """By MIME type, for whoever shows it."""
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle(), dict(self.metadata)

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
            duration_text(line.starting_ms),
            duration_text(line.busy_ms),
            duration_text(line.idle_ms),
            amount_text(line.cost_nanodollars, simulated=line.simulated),
            "open" if line.closed_at is None else "",
        ]
        for line in bill.leases
    ]
    headings = ["from (UTC)", "GPU", "agent", "starting", "busy", "idle", "cost", ""]
    return Table(headings, rows, total_text(bill))


def groups_table(bill: Bill) -> Table:
    """One row for each group of a bill that is broken down; who it is of where several users are in it."""
    shows_user = bill.by != "user" and len({group.user for group in bill.groups}) > 1
    rows = [
        [
            group.key or NOT_KNOWN,
            *([group.user or ""] if shows_user else []),
            *(duration_text(ms) for ms in (group.starting_ms, group.busy_ms, group.idle_ms)),
            money_text(group.cost_nanodollars, group.simulated_nanodollars),
            money_text(group.saved_nanodollars, group.saved_simulated_nanodollars),
        ]
        for group in bill.groups
    ]
    name = {"day": "day (UTC)", "gpu": "GPU"}.get(bill.by or "", bill.by or "")
    headings = [name, *(["user"] if shows_user else []), "starting", "busy", "idle", "cost", "saved"]
    return Table(headings, rows, total_text(bill))


def money_text(real: int, simulated: int) -> str:
    """``$0.0022``, ``$0.0022 simulated``, or both, one after the other and never together."""
    amounts = [amount_text(real, simulated=False)] if real or not simulated else []
    return " and ".join([*amounts, *([amount_text(simulated, simulated=True)] if simulated else [])])


def total_text(bill: Bill) -> str:
    """``total $0.0022 · simulated $0.0022, not in the total · releasing saved $0.0100``."""
    parts = [f"total {format_dollars(bill.total_nanodollars)}"]
    if bill.simulated_nanodollars or any(line.simulated for line in bill.leases):
        parts.append(f"simulated {format_dollars(bill.simulated_nanodollars)}, not in the total")
    if bill.saved_nanodollars or bill.saved_simulated_nanodollars:
        parts.append(f"releasing saved {money_text(bill.saved_nanodollars, bill.saved_simulated_nanodollars)}")
    return " · ".join(parts)


def duration_text(duration_ms: int) -> str:
    """``0.4 s``, ``22m 07s``, ``2h 32m``."""
    seconds = duration_ms // 1000
    if seconds >= 3600:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"
    if seconds >= 60:
        return f"{seconds // 60}m {seconds % 60:02}s"
    return f"{duration_ms / 1000:.1f} s"
