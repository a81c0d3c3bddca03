"""What each process of a test holds: memory, threads and open files."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from ..processes import ours


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds; ``memory_bytes`` is its own, without what it shares."""

    memory_bytes: int
    threads: int
    files: int


def census(marker: str) -> dict[tuple[str, int], Holding]:
    """By what the process is and its pid."""
    found = {}
    roots = ours(marker)
    # What the agent starts does not inherit where our data is.
    children = [child for process in roots for child in _children(process)]
    for process in {process.pid: process for process in [*roots, *children]}.values():
        try:
            with process.oneshot():
                name = _name(process.cmdline())
                holding = Holding(process.memory_full_info().uss, process.num_threads(), process.num_fds())
        except psutil.NoSuchProcess:
            continue
        found[name, process.pid] = holding
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _name(command: list[str]) -> str:
    """``up``, ``agent``, ``ipykernel_launcher``…: the first word that tells."""
    words = command[command.index("-m") + 1 :] if "-m" in command else command
    return words[1] if words and words[0] == "perijove.cli" else (words or ["?"])[0].rpartition(".")[2]


def growth(before: dict[tuple[str, int], Holding], after: dict[tuple[str, int], Holding]) -> str:
    """A line for each process, for people."""
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            lines.append(f"{key}: {'new' if old is None else 'gone'} {new or old}")
            continue
        memory = (new.memory_bytes - old.memory_bytes) / 1e6
        lines.append(f"{key}: {memory:+.1f} MB, {new.threads - old.threads:+} threads, {new.files - old.files:+} files")
    return "\n".join(lines)
