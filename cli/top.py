"""``perijove top``: agents, GPUs, who holds what, the queue and the rate of spend, live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..client.find_broker import find_running_broker
from ..client.http import BrokerClient
from ..wire.errors import BrokerUnreachable
from ..wire.money import NANODOLLARS_PER_DOLLAR, format_dollars
from .reports import JsonOption

Document = Mapping[str, Any]

_GIB = 1 << 30
_BAR = 10
_WARM, _HOT = 50, 85  # percent
_SECONDS_PER_HOUR = 3600
_NANO_PER_MICRO = NANODOLLARS_PER_DOLLAR // 1_000_000
_STATE_COLOURS = {"busy": "green", "idle": "yellow", "queued": "magenta", "starting": "cyan"}


class Sort(StrEnum):
    COST = "cost"
    GPU = "gpu"
    USER = "user"
    STATE = "state"


def register(app: typer.Typer) -> None:
    app.command()(top)


def top(
    sort: Annotated[Sort, typer.Option(help="What kernels are sorted by; the key s changes it.")] = Sort.COST,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5, max=60)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end; so does a pipe.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What GPUs and kernels do now, live. Keys: s sorts otherwise, q ends. Admins see everybody's kernels."""
    asyncio.run(_top(sort, every, once=once or not sys.stdout.isatty(), as_json=as_json))


async def _top(sort: Sort, every_s: float, *, once: bool, as_json: bool) -> None:
    address = await find_running_broker()
    if address is None:
        raise BrokerUnreachable("no broker runs here, so there is nothing to show; a notebook's first cell starts one")
    console = Console()
    async with BrokerClient(address) as broker:
        document = await broker.status()
        if as_json:
            print(json.dumps(document, indent=2))
        elif once:
            console.print(picture(document, sort))
        else:
            await _live(console, broker, document, sort, every_s)


async def _live(console: Console, broker: BrokerClient, document: Document, sort: Sort, every_s: float) -> None:
    """Look again and again. A broker that is away stays on the screen as it was, with how old that is."""
    keys: asyncio.Queue[str] = asyncio.Queue()
    seen_at, problem = time.monotonic(), ""
    with _keys(keys.put_nowait), Live(console=console, screen=True, auto_refresh=False) as live:
        next_look = time.monotonic() + every_s
        while True:
            live.update(picture(document, sort, _stale(problem, seen_at), keys=True), refresh=True)
            try:
                async with asyncio.timeout(max(0.0, next_look - time.monotonic())):
                    key = await keys.get()
            except TimeoutError:
                next_look = time.monotonic() + every_s
                try:
                    document, seen_at, problem = await broker.status(), time.monotonic(), ""
                except BrokerUnreachable as error:
                    problem = str(error)
                continue
            if key in ("q", "\x03", "\x04"):
                return
            if key == "s":
                orders = list(Sort)
                sort = orders[(orders.index(sort) + 1) % len(orders)]


def _stale(problem: str, seen_at: float) -> str:
    return f"as of {time.monotonic() - seen_at:.0f} s ago: {problem}" if problem else ""


@contextlib.contextmanager
def _keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Keys as they are pressed, where there is a keyboard."""
    try:
        import termios  # not on Windows, where Ctrl-C ends it
        import tty
    except ImportError:
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, lambda: pressed(os.read(keyboard, 1).decode("latin-1")))
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


# the picture ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spend:
    """Per hour, in nano-dollars."""

    real: int
    simulated: int

    def __str__(self) -> str:
        simulated = f" · simulated {format_dollars(self.simulated)}/h" if self.simulated else ""
        return f"{format_dollars(self.real)}/h{simulated}"


def rate_of_spend(document: Document) -> Spend:
    """What all leases together cost in an hour, as things are."""
    amounts = {False: 0, True: 0}
    for kernel in document["kernels"]:
        if (lease := kernel["lease"]) is not None:
            rate = lease["price_microdollars_per_second"] * lease["count"] * _NANO_PER_MICRO
            amounts[bool(kernel["simulated"])] += rate * _SECONDS_PER_HOUR
    return Spend(amounts[False], amounts[True])


def picture(document: Document, sort: Sort = Sort.COST, stale: str = "", *, keys: bool = False) -> Group:
    """One screen of the document that ``GET /api/status`` gives. ``keys``: say which there are."""
    gpus = [gpu for agent in document["agents"] for gpu in agent["gpus"]]
    held = sum(gpu["state"] == "held" for gpu in gpus)
    heading = Text.assemble(
        ("perijove ", "bold"),
        f"{held} of {len(gpus)} GPUs held · {len(document['queue'])} waiting · {rate_of_spend(document)}",
        (f" · sorted by {sort} (s) · end (q)" if keys else "", "dim"),
    )
    parts: list[Any] = [heading]
    if stale:
        parts.append(Text(stale, "red"))
    parts.append(_gpu_table(document) if gpus else Text("no agent has a GPU yet; see: perijove doctor", "dim"))
    if document["kernels"]:
        parts.append(_kernel_table(document["kernels"], sort))
    for waiting in document["queue"]:
        parts.append(Text(f"{waiting['user']} waits {waiting['waiting_s']:.0f} s: {waiting['reason']}", "magenta"))
    return Group(*parts)


def _gpu_table(document: Document) -> Table:
    holders = {
        uuid: f"{kernel['user']} · {kernel['name']}"
        for kernel in document["kernels"]
        if kernel["gpus"]
        for uuid in kernel["gpus"]["uuids"]
    }
    table = Table("agent", "GPU", "used", "memory", "power", "temp", "held by", box=None, header_style="bold")
    for agent in document["agents"]:
        for gpu in agent["gpus"]:
            usage = gpu.get("usage") or {}
            known = usage.get("problem", "") == ""
            name = f"{gpu['model']}{' (simulated)' if gpu['simulated'] else ''}"
            holder = holders.get(gpu["uuid"], "someone else" if gpu["state"] == "held" else "")
            table.add_row(
                Text(agent["name"] + ("" if agent["state"] == "connected" else " (away)")),
                Text(f"{gpu.get('place') or gpu['index']}: {name}"),
                _bar(usage.get("utilization_percent") if known else None),
                _memory(usage),
                _of("{:.0f} W", usage.get("power_milliwatts"), 1000),
                _temperature(usage),
                _holder_and_trouble(gpu, usage, holder),
            )
    return table


def _kernel_table(kernels: list[dict[str, Any]], sort: Sort) -> Table:
    table = Table(
        "user", "kernel", "GPU", "state", "so far", "per hour", "until release", box=None, header_style="bold"
    )
    for kernel in sorted(kernels, key=lambda kernel: _order(kernel, sort)):
        lease = kernel["lease"]
        simulated = " simulated" if kernel["simulated"] else ""
        hourly = "" if lease is None else f"{rate_of_spend({'kernels': [{**kernel, 'simulated': False}]})}{simulated}"
        release = kernel["release_in_s"]
        table.add_row(
            Text(kernel["user"]),
            Text(kernel["name"]),
            Text(kernel["gpu"]),
            Text(_state(kernel), _STATE_COLOURS.get(_state(kernel), "dim")),
            "" if lease is None else format_dollars(lease["cost_nanodollars"]) + simulated,
            hourly,
            "" if release is None else f"{release:.0f} s",
        )
    return table


def _order(kernel: dict[str, Any], sort: Sort) -> tuple[Any, ...]:
    cost = -kernel["lease"]["cost_nanodollars"] if kernel["lease"] is not None else 1
    match sort:
        case Sort.COST:
            return (cost, kernel["user"], kernel["id"])
        case Sort.GPU:
            return (kernel["gpu"], cost, kernel["id"])
        case Sort.USER:
            return (kernel["user"], cost, kernel["id"])
        case Sort.STATE:
            return (_state(kernel), cost, kernel["id"])


def _state(kernel: dict[str, Any]) -> str:
    """An attached kernel is busy or idle."""
    return ("busy" if kernel["busy"] else "idle") if kernel["state"] == "attached" else str(kernel["state"])


def _bar(percent: float | None) -> Text:
    if percent is None:
        return Text("unknown", "dim")
    full = round(_BAR * min(percent, 100) / 100)
    colour = "green" if percent >= _HOT else "yellow" if percent >= _WARM else "cyan"
    return Text.assemble(("█" * full, colour), ("░" * (_BAR - full), "dim"), f" {percent:3.0f} %")


def _memory(usage: Document) -> str:
    used, total = usage.get("memory_used_bytes"), usage.get("memory_total_bytes")
    return "" if used is None or not total else f"{used / _GIB:.1f} of {total / _GIB:.0f} GiB"


def _temperature(usage: Document) -> str:
    slowed = usage.get("throttled_by") or []
    return _of("{:.0f} °C", usage.get("temperature_celsius")) + (f", slowed by {', '.join(slowed)}" if slowed else "")


def _of(form: str, value: float | None, divisor: int = 1) -> str:
    return "" if value is None else form.format(value / divisor)


def _holder_and_trouble(gpu: Document, usage: Document, holder: str) -> Text:
    """Who has it, or why nobody may; and the latest error that its driver has reported."""
    trouble = gpu["reason"] or usage.get("last_xid")
    return Text.assemble(
        holder if holder else (str(gpu["state"]), "dim"),
        (f": {trouble}", "red" if gpu["reason"] else "dim") if trouble else "",
    )
