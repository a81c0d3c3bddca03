"""A cell's round trip through a whole kernel on a GPU, beside plain ipykernel and jupyter_server's WebSocket.

From the front-end's execute_request to the reply *and* the idle; every round runs every cell once by every way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from .cells import RunsCells
from .effort import Effort
from .figures import Figure, Mark, milliseconds
from .home import Home
from .measure import Timings, alternate
from .ways import OURS, PLAIN, SERVER_NODELAY, all_ways

SUBJECT = "kernel"
NEAR_PLAIN = Mark(1.3, at_least=False, meaning="plain ipykernel's p50")
AHEAD = Mark(1, at_least=False, meaning="jupyter_server's with TCP_NODELAY")
WARM_UP = 10
CELLS = {"pass": "pass", "a small print": "print('a small print')"}
Replies = defaultdict[tuple[str, str], list[float]]


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    replies: Replies = defaultdict(list)
    with all_ways(here) as ways:
        contenders: dict[tuple[str, str], Callable[[], float]] = {
            (way, cell): partial(_run, front_end, code, replies[way, cell])
            for cell, code in CELLS.items()
            for way, front_end in ways.items()
        }
        trips = alternate(effort.cells, contenders, warm_up=WARM_UP)
    for cell in CELLS:
        plain, server = trips[PLAIN, cell], trips[SERVER_NODELAY, cell]
        for way in ways:
            trip = trips[way, cell]
            reply = Timings(tuple(replies[way, cell][WARM_UP:]))
            detail = f"p50 of {len(trip)}, p99 {trip.p99 * 1000:.1f} ms; reply {reply.p50 * 1000:.2f} ms"
            mark = NEAR_PLAIN if way in OURS else None
            ratio = None if way == PLAIN else trip.p50 / plain.p50
            yield milliseconds(SUBJECT, f"{way}: {cell}", trip.p50, detail=detail, ratio=ratio, mark=mark)
            if way in OURS:
                yield milliseconds(SUBJECT, "… the same", trip.p50, ratio=trip.p50 / server.p50, mark=AHEAD)


def _run(front_end: RunsCells, code: str, replies: list[float]) -> float:
    seen = front_end.execute(code)
    replies.append(seen.reply_s)
    return seen.done_s
