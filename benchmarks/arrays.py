"""A numpy array there and back, beside ipyparallel's push and pull and a bare relayed WebSocket, in the same loop.

Each array is new: nothing can be recognised from before. ``%%gpu`` is timed at the front-end and so pays for a whole
cell, for fingerprinting the array at both ends, and for landing it in the kernel's memory; ipyparallel's calls are
timed in the calling process, and the bare relay does nothing but move bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .effort import Effort
from .figures import Figure, Mark
from .front_end import FrontEnd
from .home import GPU, Home, wait_for_rest
from .measure import Timings, alternate
from .peers.parallel import Engine, engine
from .peers.relay import BareRelay, bare_relay

SUBJECT = "arrays"
OF_RELAY = Mark(0.8, at_least=True, meaning="of a bare relay's rate")
OF_IPYPARALLEL = Mark(2, at_least=True, meaning="ipyparallel's rate")
ITEMS_PER_MB = 125_000  # int64
LARGE_MB = 500
ROUNDS_OF_LARGE = 2  # and no warm-up of their own: smaller sizes have run before
Way = tuple[str, str]  # who, "in" or "out" or "again"


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    with engine(here.directory) as ipyparallel, bare_relay() as relay, here.notebook() as notebook:
        notebook.execute("import numpy as np")
        notebook.execute(f"%%gpu {GPU}\nimport numpy as np")
        wait_for_rest(here.broker(), held=1)
        for size_mb in effort.transfers_mb:
            rounds, warm_up = (ROUNDS_OF_LARGE, 0) if size_mb >= LARGE_MB else (effort.transfers, 1)
            ways = _measure_size(size_mb, rounds, warm_up, ipyparallel, relay, notebook)
            yield from _figures(size_mb, ways)


def _measure_size(
    size_mb: int, rounds: int, warm_up: int, ipyparallel: Engine, relay: BareRelay, notebook: FrontEnd
) -> dict[Way, Timings]:
    ways: dict[Way, list[float]] = {}
    start = iter(range(1, 1_000))

    def bare() -> float:
        there_s, back_s = relay.there_and_back(memoryview(_array(size_mb, next(start))).cast("B"))
        _note(ways, "bare relay", {"in": there_s, "out": back_s})
        return there_s + back_s

    def parallel() -> float:
        seconds = {"in": ipyparallel.push(_array(size_mb, next(start))), "out": ipyparallel.pull()}
        ipyparallel.clear()
        _note(ways, "ipyparallel", seconds)
        return sum(seconds.values())

    def gpu() -> float:
        seconds = _there_and_back(notebook, size_mb, next(start))
        _note(ways, "%%gpu", seconds)
        return sum(seconds.values())

    alternate(rounds, {"bare": bare, "parallel": parallel, "gpu": gpu}, warm_up=warm_up)
    return {way: Timings(tuple(seconds[warm_up:])) for way, seconds in ways.items()}


def _note(ways: dict[Way, list[float]], who: str, seconds: dict[str, float]) -> None:
    for way, each in seconds.items():
        ways.setdefault((who, way), []).append(each)


def _array(size_mb: int, start: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(start, start + size_mb * ITEMS_PER_MB)


def _there_and_back(notebook: FrontEnd, size_mb: int, start: int) -> dict[str, float]:
    """In, again unchanged, and another one out; checked at both ends, outside of the timing."""
    count = size_mb * ITEMS_PER_MB
    notebook.execute(f"sent = np.arange({start}, {start + count})")
    there_s = notebook.execute(f"%%gpu {GPU}\nsent.shape;").done_s
    again_s = notebook.execute(f"%%gpu {GPU}\nsent.shape;").done_s
    notebook.execute(f"%%gpu {GPU} --in '' --keep made\nmade = np.arange({-start}, {count - start})")
    back_s = notebook.execute(f"%%gpu {GPU} --in '' --out made\npass").done_s
    notebook.execute(
        f"assert type(made) is np.ndarray and made.shape == ({count},) and made[0] == {-start}, made\n"
        f"assert made[-1] == {count - start - 1} and made.flags.writeable"
    )
    notebook.execute(f"%%gpu {GPU}\nassert sent[0] == {start} and sent[-1] == {start + count - 1}")
    notebook.execute("del sent, made")
    notebook.execute(f"%%gpu {GPU}\npass")  # lets the other side drop them, too
    return {"in": there_s, "again": again_s, "out": back_s}


def _figures(size_mb: int, ways: dict[Way, Timings]) -> Iterator[Figure]:
    for way in ("in", "out"):
        relay_s, parallel_s = ways["bare relay", way].p50, ways["ipyparallel", way].p50
        gpu = ways["%%gpu", way]
        name = f"{size_mb:,} MB {way}"
        marked = size_mb >= LARGE_MB
        yield _rate(f"bare relay: {name}", size_mb, ways["bare relay", way])
        yield _rate(f"ipyparallel: {name}", size_mb, ways["ipyparallel", way])
        yield _rate(
            f"%%gpu: {name}", size_mb, gpu, relay_s / gpu.p50, OF_RELAY if marked else None, "against the relay"
        )
        yield _rate("…", size_mb, gpu, parallel_s / gpu.p50, OF_IPYPARALLEL if marked else None, "against ipyparallel")
    again = ways["%%gpu", "again"]
    faster = ways["%%gpu", "in"].p50 / again.p50
    detail = f"{again.p50 * 1000:.0f} ms for the cell, {faster:.1f} × faster than the first"
    yield Figure(SUBJECT, f"%%gpu: {size_mb:,} MB in, again unchanged", size_mb / again.p50, "MB/s", detail)


def _rate(
    what: str, size_mb: int, timings: Timings, ratio: float | None = None, mark: Mark | None = None, detail: str = ""
) -> Figure:
    detail = detail or f"p50 of {len(timings)}, best {size_mb / timings.best:.0f} MB/s"
    return Figure(SUBJECT, what, size_mb / timings.p50, "MB/s", detail, ratio, mark)
