"""What two runs of a notebook say, brought into a form in which equal things are equal, and how the two differ.

As little as possible is taken away, each thing for a reason: what names a process or a moment (ids, addresses, process
numbers in paths, measured times) and what Perijove adds of its own, which it marks. Where streams are cut is chance, so
pieces of one stream that follow each other are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .notebook import Cell, Notebook
from .player import Message, Played, Step

_CHANCE = (
    (re.compile(r"(?:\b0x|(?<= object at ))[0-9a-fA-F]{8,16}\b"), "0x…"),
    (re.compile(r"(?<=/ipykernel_)\d+(?=/)"), "PID"),
    (re.compile(r"(?<=CPU times: )[^\n]*"), "TIMES"),
    (re.compile(r"(?<=Wall time: )[^\n]*"), "TIME"),
    (re.compile(r"[\d.]+ (?:ns|[µμu]s|ms|s) ± [\d.]+ (?:ns|[µμu]s|ms|s)(?= per loop)"), "TIME ± TIME"),
    # tqdm's rate and times: ``3/3 [00:00<00:00, 1234.56it/s]``
    (re.compile(r"\[\d\d:\d\d<(?:\d\d:\d\d|\?), +(?:[\d.]+|\?)(it/s|s/it)"), r"[TIMES"),
)
_ID = re.compile(
    r"(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{8}-[0-9a-f]{24}_\d+_\d+)(?![0-9a-f])"
)
_OF_THE_MOMENT = {"started", "engine", "dependencies_met", "status"}  # in a reply's metadata
_MISSING = "(nothing)"


def compared(notebook: Notebook, plain: Played, gpu: Played) -> list[tuple[str, str, str]]:
    """All differences between two runs, as ``differences`` gives them."""
    _overlook_magic_lines(notebook, plain.namespace, gpu.namespace)
    return list(differences(_document(notebook, plain, with_gpu=False), _document(notebook, gpu, with_gpu=True)))


def _document(notebook: Notebook, played: Played, *, with_gpu: bool) -> dict[str, Any]:
    steps = {
        f"step {number}": _step(step, source, with_gpu)
        for number, (step, source) in enumerate(zip(played.steps, notebook.steps, strict=True), start=1)
    }
    document: dict[str, Any] = _Ids().renamed({**steps, "after": _without_chance(played.namespace)})
    return document


def differences(plain: Any, gpu: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """The smallest parts that differ: path, plain, gpu."""
    if isinstance(plain, dict) and isinstance(gpu, dict):
        for key in [*plain, *(key for key in gpu if key not in plain)]:
            yield from differences(plain.get(key, _MISSING), gpu.get(key, _MISSING), f"{path}/{key}")
    elif isinstance(plain, list) and isinstance(gpu, list) and len(plain) == len(gpu):
        for number, (one, other) in enumerate(zip(plain, gpu, strict=True)):
            yield from differences(one, other, f"{path}/{number}")
    elif plain != gpu:
        yield path, _text(plain), _text(gpu)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _step(step: Step, source: Any, with_gpu: bool) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    for message in step.messages:
        if message["content"].get("metadata", {}).get("perijove", {}).get("role"):
            continue
        output = _output(message, source, with_gpu)
        before = outputs[-1] if outputs else {}
        if output["type"] == before.get("type") == "stream" and output["content"]["name"] == before["content"]["name"]:
            before["content"]["text"] += output["content"]["text"]
        else:
            outputs.append(output)
    return {"outputs": [_without_chance(each) for each in outputs], "reply": _reply(step), "prompts": step.prompts}


def _output(message: Message, source: Any, with_gpu: bool) -> dict[str, Any]:
    content = dict(message["content"])
    if message["msg_type"] == "execute_input" and content["code"] == source.source(with_gpu):
        content["code"] = source.code
    return {
        "type": message["msg_type"],
        "content": content,
        "metadata": message["metadata"],
        "buffers": [bytes(buffer).hex(" ", 4) for buffer in message.get("buffers", [])],
    }


def _reply(step: Step) -> Any:
    if step.reply is None:
        return None
    metadata = {key: value for key, value in step.reply["metadata"].items() if key not in _OF_THE_MOMENT}
    return _without_chance({"content": step.reply["content"], "metadata": metadata})


def _without_chance(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_chance(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_chance(each) for each in value]
    if isinstance(value, str):
        for pattern, instead in _CHANCE:
            value = pattern.sub(instead, value)
    return value


def _overlook_magic_lines(notebook: Notebook, plain: dict[str, Any], gpu: dict[str, Any]) -> None:
    """``In`` and ``_i`` hold a ``%%gpu`` cell with its line, as with any cell magic: exactly so, and nothing more."""
    cells = [step for step in notebook.steps if isinstance(step, Cell)]
    if len(plain.get("In", ())) == len(gpu.get("In", ())) == len(cells):
        for number, cell in enumerate(cells):
            magic, _, line = (cell.line or "").removeprefix("%%").partition(" ")
            body = "".join(f"{each}\n" for each in cell.code.split("\n"))
            if gpu["In"][number] == f"get_ipython().run_cell_magic({magic!r}, {line!r}, {body!r})":
                gpu["In"][number] = plain["In"][number]
    for name, number in (("_i", -2), ("_ii", -3), ("_iii", -4)):
        if len(cells) >= -number and gpu.get("inputs", {}).get(name) == cells[number].source(True):
            gpu["inputs"][name] = cells[number].code


class _Ids:
    """Ids by the order in which they first occur."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def renamed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.renamed(key): self.renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.renamed(each) for each in value]
        if isinstance(value, str):
            return _ID.sub(lambda found: f"id {self._numbers.setdefault(found[0], len(self._numbers) + 1)}", value)
        return value
