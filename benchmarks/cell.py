"""A ``pass`` cell's round trip: on the local kernel, and through ``%%gpu`` with more and more variables to look after.

One notebook, one front-end, one loop: every round runs each kind of cell once, so that they share the machine's moods.
The durations are from the front-end's execute_request to the reply *and* the idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .effort import Effort
from .figures import Figure, Mark, milliseconds
from .front_end import FrontEnd
from .home import GPU, Home, wait_for_rest
from .measure import Timings, alternate

SUBJECT = "cell"
MARK = Mark(2.5, at_least=False, meaning="a plain cell")
HASH_GB_S = 5.0
HASH = Mark(1, at_least=True, meaning="5 GB/s")
SMALL = 20
WARM_UP = 10
_SETUP = """
import numpy as np
for _i in range(20):
    globals()[f"small_{_i}"] = (_i, [_i, str(_i)], {"n": _i, "x": _i / 3}, f"text {_i}")[_i % 4]
"""


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    with FrontEnd(here.directory, here.environment) as stock, here.notebook() as notebook:
        stock.wait_until_heard()
        notebook.execute(_SETUP)
        reads_small = "\n".join(f"small_{i}" for i in range(SMALL))
        cells = {
            "stock": (stock, "pass"),
            "plain": (notebook, "pass"),
            "gpu": (notebook, f"%%gpu {GPU}\npass"),
            "small": (notebook, f"%%gpu {GPU}\n{reads_small}\npass"),
        }
        notebook.execute(f"%%gpu {GPU}\npass")
        wait_for_rest(here.broker(), held=1)
        trips = alternate(effort.cells, _contenders(cells), warm_up=WARM_UP)
        notebook.execute(f"big = np.arange({effort.array_mb} * 125_000)")
        notebook.execute(f"%%gpu {GPU}\nassert big[-1] == {effort.array_mb} * 125_000 - 1")
        cells = {"stock": (stock, "pass"), "array": (notebook, f"%%gpu {GPU}\nbig.shape\npass")}
        with_array = alternate(effort.cells_with_array, _contenders(cells), warm_up=2)
    base, loaded = trips["stock"], trips["plain"]
    yield milliseconds(SUBJECT, "ipykernel: pass", base.p50, detail=_of(base))
    ratio = loaded.p50 / base.p50
    yield milliseconds(SUBJECT, "ipykernel with Perijove loaded: pass", loaded.p50, detail=_of(loaded), ratio=ratio)
    yield _figure("%%gpu: pass", trips["gpu"], base)
    yield _figure(f"%%gpu: pass, {SMALL} small variables read, unchanged", trips["small"], base)
    what = f"%%gpu: pass, a {effort.array_mb} MB array read, unchanged"
    array = with_array["array"]
    yield _figure(what, array, with_array["stock"])
    extra_s = max(array.p50 - trips["gpu"].p50, 1e-9)  # the array is looked at once on either side
    rate = 2 * effort.array_mb / 1000 / extra_s
    yield Figure(SUBJECT, "… what it adds, as fingerprinting at both ends", rate, "GB/s", "", rate / HASH_GB_S, HASH)


def _contenders(cells: dict[str, tuple[FrontEnd, str]]) -> dict[str, partial[float]]:
    return {name: partial(_run, front_end, code) for name, (front_end, code) in cells.items()}


def _run(front_end: FrontEnd, code: str) -> float:
    return front_end.execute(code).done_s


def _figure(what: str, trip: Timings, plain: Timings) -> Figure:
    return milliseconds(SUBJECT, what, trip.p50, detail=_of(trip), ratio=trip.p50 / plain.p50, mark=MARK)


def _of(timings: Timings) -> str:
    return f"p50 of {len(timings)}, p95 {timings.p95 * 1000:.1f} ms"
