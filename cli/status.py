"""``perijove status``: one screen that answers what is up, what waits and why, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..wire.money import format_dollars
from .reports import JsonOption, ask
from .top_picture import rate_of_spend

Document = Mapping[str, Any]
_STATE_COLOURS = {"connected": "green", "draining": "yellow", "drained": "yellow", "away": "red"}


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(as_json: JsonOption = False) -> None:
    """What the broker, its agents and its kernels do now, what waits and why, and what it costs."""
    document = ask(lambda broker: broker.status())
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        Console(highlight=False).print(overview(document))


def overview(document: Document) -> Group:
    parts: list[Any] = [_heading(document), Text("")]
    if document["agents"]:
        parts.append(_agents(document["agents"]))
    else:
        parts.append(Text("no agent is connected, so there is no GPU; start one: perijove agent", "yellow"))
    parts.append(Text(""))
    if document["kernels"]:
        parts.append(_kernels(document["kernels"]))
    else:
        parts.append(Text("no kernel is here; a notebook's first %%gpu cell makes one", "dim"))
    if document["queue"]:
        parts += [Text(""), *(_waiting(waiting) for waiting in document["queue"])]
    return Group(*parts)


def _heading(document: Document) -> Text:
    broker = document["broker"]
    gpus = [gpu for agent in document["agents"] for gpu in agent["gpus"]]
    held = sum(gpu["state"] == "held" for gpu in gpus)
    return Text.assemble(
        (f"perijove {broker['version']}", "bold"),
        f" · up {_span(broker['uptime_s'])} · {held} of {len(gpus)} GPUs held · {len(document['queue'])} waiting"
        f" · {rate_of_spend(document)}",
    )


def _agents(agents: list[dict[str, Any]]) -> Table:
    table = Table("agent", "state", "GPUs", "free", "host", "note", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for agent in agents:
        models = _by_model(agent["gpus"]) or {"none": []}
        for place, (model, members) in enumerate(models.items()):
            free = sum(gpu["state"] == "free" for gpu in members)
            first = place == 0
            table.add_row(
                Text(agent.get("name", agent["id"]) if first else ""),
                Text(agent["state"] if first else "", _STATE_COLOURS.get(agent["state"], "")),
                Text(f"{len(members)} × {model}" if members else "none", "" if members else "dim"),
                f"{free} of {len(members)}" if members else "",
                _host(agent.get("host")) if first else "",
                _note(agent if first else {}, members),
            )
    return table


def _host(host: Document | None) -> str:
    if host is None:
        return ""
    used, total = host["memory_used_bytes"] / (1 << 30), host["memory_total_bytes"] / (1 << 30)
    return f"CPU {host['cpu_percent']:.0f} %, {used:.0f} of {total:.0f} GiB"


def _note(agent: Document, gpus: list[dict[str, Any]]) -> Text:
    """What somebody may have to do something about."""
    notes = []
    if agent.get("away_s") is not None:
        notes.append(f"out of contact for {_span(agent['away_s'])}")
    if (drain := agent.get("drain")) is not None:
        notes.append(f"asked by {drain['asked_by']}")
        if drain["leases"]:
            notes.append(f"{drain['leases']} still on it")
        elif drain["suspended"]:
            notes.append(f"{drain['suspended']} suspended there")
    bad = [gpu for gpu in gpus if gpu["state"] not in ("free", "held")]
    ill = [f"GPU {gpu['index']} {gpu['state']}{': ' + gpu['reason'] if gpu['reason'] else ''}" for gpu in bad]
    return Text.assemble(", ".join(notes), ("; " if notes and ill else ""), ("; ".join(ill), "red"))


def _kernels(kernels: list[dict[str, Any]]) -> Table:
    table = Table(
        "kernel",
        "user",
        "state",
        "GPU",
        "spent",
        "per hour",
        "goes back",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    for kernel in sorted(kernels, key=lambda kernel: (kernel["lease"] is None, kernel["user"], kernel["id"])):
        on = f" on {kernel['agent']}" if kernel["agent"] else ""
        release = kernel["release_in_s"]
        table.add_row(
            Text(kernel["name"]),
            Text(kernel["user"]),
            Text(_state(kernel)),
            Text(f"{kernel['gpu']}{on}"),
            _spent(kernel),
            _hourly(kernel),
            "" if release is None else f"in {_span(release)}",
        )
    return table


def _state(kernel: Document) -> str:
    if kernel["state"] == "attached":
        return "busy" if kernel["busy"] else "idle"
    return str(kernel["state"])


def _hourly(kernel: Document) -> str:
    """Whether it is simulated stands with what was spent."""
    rate = rate_of_spend({"kernels": [kernel]})
    return "" if kernel["lease"] is None else format_dollars(rate.real + rate.simulated)


def _spent(kernel: Document) -> str:
    spent, simulated = kernel["spent_nanodollars"], kernel["spent_simulated_nanodollars"]
    text = format_dollars(spent) if spent else ""
    if kernel["budget_nanodollars"] is not None:
        text = f"{format_dollars(spent)} of {format_dollars(kernel['budget_nanodollars'])}"
    if simulated:
        text += " simulated" if simulated == spent else f" ({format_dollars(simulated)} simulated)"
    return text


def _waiting(waiting: Document) -> Text:
    return Text(f"{waiting['user']} waits {_span(waiting['waiting_s'])}: {waiting['reason']}", "magenta")


def _span(seconds: float) -> str:
    """
    >>> [_span(s) for s in (0.4, 59, 61, 3700, 90_000)]
    ['0 s', '59 s', '1 min 1 s', '1 h 1 min', '25 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole < 24 * 3600 else f"{whole // 3600} h"


def _by_model(gpus: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    models: dict[str, list[dict[str, Any]]] = {}
    for gpu in gpus:
        models.setdefault(gpu["model"] + (" (simulated)" if gpu.get("simulated") else ""), []).append(gpu)
    return models
