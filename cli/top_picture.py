"""What ``perijove top`` draws of a broker's status: as much as fits, with what is selected always in sight.

On a terminal each row is one line, columns that do not fit are left out, and longer tables show the part around what is
selected, so that heading, questions and keys stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..wire.money import NANODOLLARS_PER_DOLLAR, format_dollars

if TYPE_CHECKING:
    from .top_keys import Selection

Document = Mapping[str, Any]

_GIB = 1 << 30
_BAR = 10
_WARM, _HOT = 50, 85  # percent
_SECONDS_PER_HOUR = 3600
_NANO_PER_MICRO = NANODOLLARS_PER_DOLLAR // 1_000_000
_STATE_COLOURS = {"busy": "green", "idle": "yellow", "queued": "magenta", "starting": "cyan"}
_KEYS = "↑↓ select · r release · d drain · s sort · q end"
_MOST_QUEUE_LINES = 3
_MOST_WORD_LINES = 4
_ROOMY = 20  # lines
_SELECTED = "reverse"


class Sort(StrEnum):
    COST = "cost"
    GPU = "gpu"
    USER = "user"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Row:
    """What a line is of: a device of an agent, an agent without one, or a kernel."""

    agent_id: str = ""
    uuid: str = ""
    kernel_id: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    row: Row
    cells: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """``from_width``: of the terminal on."""

    name: str
    from_width: int = 0


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


def picture(document: Document, sort: Sort = Sort.COST) -> Group:
    """All of the document that ``GET /api/status`` gives, as into a pipe."""
    gpus, kernels = gpu_lines(document), kernel_lines(document, sort)
    parts: list[Any] = [_heading(document)]
    parts.append(_table(_GPU_COLUMNS, gpus) if gpus else Text("no agent has a GPU yet; see: perijove doctor", "dim"))
    if kernels:
        parts.append(_table(_KERNEL_COLUMNS, kernels))
    parts += _queue(document)
    return Group(*parts)


def screen(document: Document, state: Selection, stale: str, console: Console) -> Group:
    """The same, on one screen."""
    width, height = console.width, console.height
    above = [_heading(document)]
    if stale:
        above.append(Text(stale, "red"))
    queue = _queue(document, most=_MOST_QUEUE_LINES if height >= _ROOMY else 1)
    keys = Text(f"{_KEYS} · by {state.sort}", "dim")
    for text in (*above, *queue, keys):
        text.no_wrap, text.overflow = True, "ellipsis"
    word = list(_last_word(state).wrap(console, width))[:_MOST_WORD_LINES]  # what a yes would do is not cut off
    below = [*queue, *word, keys]
    gpus, kernels = gpu_lines(document), kernel_lines(document, state.sort)
    gap = [Text("")] if kernels and height >= _ROOMY else []
    headers = 1 + bool(kernels) + len(gap)
    room = max(2, height - len(above) - len(below) - headers)
    gpu_room, kernel_room = shared(room, len(gpus), len(kernels))
    tables: list[Any] = [_fitting(_GPU_COLUMNS, gpus, gpu_room, state.row, width)]
    if kernels:
        tables += [*gap, _fitting(_KERNEL_COLUMNS, kernels, kernel_room, state.row, width)]
    filled = headers + min(len(gpus), gpu_room) + min(len(kernels), kernel_room)
    blank = [Text("")] * max(0, height - len(above) - len(below) - filled)  # keys stay at the bottom
    return Group(*above, *tables, *blank, *below)


def rows_of(document: Document, sort: Sort) -> list[Row]:
    """All that can be selected, from top to bottom."""
    return [line.row for line in (*gpu_lines(document), *kernel_lines(document, sort))]


def shared(room: int, first: int, second: int) -> tuple[int, int]:
    """Lines for two lists: half each, and what one does not need is the other's."""
    half = room // 2
    if first <= half:
        return first, min(second, room - first)
    if second <= room - half:
        return min(first, room - second), second
    return half, room - half


def part_of(lines: Sequence[Line], room: int, selected: Row | None) -> tuple[Sequence[Line], int]:
    """The lines that fit, around the selected one, and how many do not: they take a line to be said in."""
    if len(lines) <= room:
        return lines, 0
    room = max(1, room - 1)
    place = next((place for place, line in enumerate(lines) if line.row == selected), 0)
    start = min(max(0, place - room // 2), len(lines) - room)
    return lines[start : start + room], len(lines) - room


def _heading(document: Document) -> Text:
    gpus = [gpu for agent in document["agents"] for gpu in agent["gpus"]]
    held = sum(gpu["state"] == "held" for gpu in gpus)
    return Text.assemble(
        ("perijove ", "bold"),
        f"{held} of {len(gpus)} GPUs held · {len(document['queue'])} waiting · {rate_of_spend(document)}",
    )


def _last_word(state: Selection) -> Text:
    if state.asking is not None:
        return Text(f"y/n: {state.asking.question}", "bold yellow")
    return Text(state.said, "bold")


def _queue(document: Document, most: int | None = None) -> list[Text]:
    lines = [
        Text(f"{waiting['user']} waits {waiting['waiting_s']:.0f} s: {waiting['reason']}", "magenta")
        for waiting in document["queue"]
    ]
    if most is None or len(lines) <= most:
        return lines
    return [*lines[: most - 1], Text(f"… and {len(lines) - most + 1} more wait", "magenta")]


# tables ---------------------------------------------------------------------------------------------------------------


def _table(columns: Sequence[Column], lines: Sequence[Line], selected: Row | None = None, **options: Any) -> Table:
    table = Table(*(column.name for column in columns), box=None, header_style="bold", **options)
    for line in lines:
        table.add_row(*line.cells, style=_SELECTED if line.row == selected else "")
    return table


def _fitting(columns: Sequence[Column], lines: Sequence[Line], room: int, selected: Row | None, width: int) -> Table:
    shown, more = part_of(lines, room, selected)
    kept = [place for place, column in enumerate(columns) if width >= column.from_width]
    for line in shown:
        for cell in line.cells:
            cell.no_wrap, cell.overflow = True, "ellipsis"
    narrowed = [Line(line.row, tuple(line.cells[place] for place in kept)) for line in shown]
    table = _table([columns[place] for place in kept], narrowed, selected, padding=(0, 1, 0, 0))
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    if more:
        table.add_row(Text(f"… {more} more", "dim"))
    return table


_GPU_COLUMNS = (
    Column("agent"),
    Column("GPU"),
    Column("used", 60),
    Column("memory", 90),
    Column("power", 110),
    Column("temp", 110),
    Column("held by"),
)
_KERNEL_COLUMNS = (
    Column("user"),
    Column("kernel", 60),
    Column("GPU", 50),
    Column("state"),
    Column("so far"),
    Column("per hour", 90),
    Column("until release", 100),
)


def gpu_lines(document: Document) -> list[Line]:
    holders = {
        uuid: f"{kernel['user']} · {kernel['name']}"
        for kernel in document["kernels"]
        if kernel["gpus"]
        for uuid in kernel["gpus"]["uuids"]
    }
    lines = []
    for agent in document["agents"]:
        name = Text(agent["name"] + agent_note(agent), "" if agent["state"] == "connected" else "yellow")
        for gpu in agent["gpus"]:
            lines.append(_gpu_line(agent, name.copy(), gpu, holders.get(gpu["uuid"], "")))
        if not agent["gpus"]:
            cells = (name, Text("none", "dim"), *(Text("") for _ in _GPU_COLUMNS[2:]))
            lines.append(Line(Row(agent_id=agent.get("id", "")), cells))
    return lines


def agent_note(agent: Document) -> str:
    """What there is to say of an agent that is not simply there: " (away)", " (draining)", " (drained)"."""
    return "" if agent["state"] == "connected" else f" ({agent['state']})"


def _gpu_line(agent: Document, name: Text, gpu: Document, holder: str) -> Line:
    usage = gpu.get("usage") or {}
    known = usage.get("problem", "") == ""
    model = f"{gpu['model']}{' (simulated)' if gpu['simulated'] else ''}"
    holder = holder or ("someone else" if gpu["state"] == "held" else "")
    cells = (
        name,
        Text(f"{gpu.get('place') or gpu['index']}: {model}"),
        _bar(usage.get("utilization_percent") if known else None),
        Text(_memory(usage)),
        Text(_of("{:.0f} W", usage.get("power_milliwatts"), 1000)),
        Text(_temperature(usage)),
        _holder_and_trouble(gpu, usage, holder),
    )
    return Line(Row(agent_id=agent.get("id", ""), uuid=gpu["uuid"]), cells)


def kernel_lines(document: Document, sort: Sort) -> list[Line]:
    return [_kernel_line(kernel) for kernel in sorted(document["kernels"], key=lambda kernel: _order(kernel, sort))]


def _kernel_line(kernel: dict[str, Any]) -> Line:
    lease = kernel["lease"]
    simulated = " simulated" if kernel["simulated"] else ""
    hourly = "" if lease is None else f"{rate_of_spend({'kernels': [{**kernel, 'simulated': False}]})}{simulated}"
    release = kernel["release_in_s"]
    cells = (
        Text(kernel["user"]),
        Text(kernel["name"]),
        Text(kernel["gpu"]),
        Text(_state(kernel), _STATE_COLOURS.get(_state(kernel), "dim")),
        Text("" if lease is None else format_dollars(lease["cost_nanodollars"]) + simulated),
        Text(hourly),
        Text("" if release is None else f"{release:.0f} s"),
    )
    return Line(Row(kernel_id=kernel["id"]), cells)


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
