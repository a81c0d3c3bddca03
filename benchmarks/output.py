"""Much output: flushed prints and displays, on the local kernel and through ``%%gpu``, every one of them counted.

The front-end reads at once and without a high-water mark. Stock ipykernel's publisher has one (1,000 messages), so that
a reader which pauses would lose messages of the plain run; this one does not pause, and what is lost anyway is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from .cells import Execution
from .effort import Effort
from .figures import Figure, Mark
from .front_end import FrontEnd
from .home import GPU, Home, wait_for_rest

SUBJECT = "output"
MARK = Mark(0.9, at_least=True, meaning="plain ipykernel's rate")
WITHIN_S = 180.0


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    with FrontEnd(here.directory, {}) as stock, here.notebook() as notebook:
        stock.wait_until_heard()
        magic = f"%%gpu {GPU}\n"
        notebook.execute(f"{magic}print('warm')")
        wait_for_rest(here.broker(), held=1)
        for front_end, prefix in ((stock, ""), (notebook, magic)):
            _prints(front_end, prefix, effort.prints // 25)  # warm-up
            _displays(front_end, prefix, effort.displays // 25)
        plain = _prints(stock, "", effort.prints)
        remote = _prints(notebook, magic, effort.prints)
        yield from _pair("flushed prints", effort.prints, plain, remote, _lines_lost)
        plain = _displays(stock, "", effort.displays)
        remote = _displays(notebook, magic, effort.displays)
        yield from _pair("displays", effort.displays, plain, remote, _displays_lost)


def _prints(front_end: FrontEnd, prefix: str, count: int) -> Execution:
    return front_end.execute(f"{prefix}for i in range({count}):\n    print(i, flush=True)", within_s=WITHIN_S)


def _displays(front_end: FrontEnd, prefix: str, count: int) -> Execution:
    return front_end.execute(f"{prefix}for i in range({count}):\n    display(i)", within_s=WITHIN_S)


def _lines_lost(seen: Execution, count: int) -> int:
    """Lines that are missing or out of place: the text is the same to the last byte, or it is not."""
    lines = seen.text.splitlines()
    wrong = sum(line != str(number) for number, line in enumerate(lines[:count]))
    return wrong + abs(count - len(lines))


def _displays_lost(seen: Execution, count: int) -> int:
    return count - seen.displays


def _pair(name: str, count: int, plain: Execution, remote: Execution, lost_of: object) -> Iterator[Figure]:
    assert callable(lost_of)
    what = f"{count:,} {name}"
    for who, seen in (("ipykernel", plain), ("%%gpu", remote)):
        messages = seen.streams or seen.displays
        ratio = plain.done_s / seen.done_s if seen is remote else None
        yield Figure(
            SUBJECT,
            f"{who}: {what}",
            count / seen.done_s,
            "per s",
            f"{seen.done_s:.1f} s, in {messages:,} messages",
            ratio,
            MARK if seen is remote else None,
            lost_of(seen, count),
        )
