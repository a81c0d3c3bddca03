"""What it costs a busy kernel that its panel is watched: two GPU kernels take turns, then one of them has a panel.

The two are never quite alike, so the figure is how their ratio changes: (watched / other) over (unwatched / other).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import psutil

from .effort import Effort
from .figures import Figure, Mark, milliseconds
from .front_end import FrontEnd
from .home import Home, wait_for_rest
from .measure import Timings, alternate

SUBJECT = "panel"
ADDS = Mark(1.01, at_least=False, meaning="the same, unwatched")
OF_A_CORE = Mark(1, at_least=False, meaning="1 % of a core")
ROUNDS_PER_CELL = 5  # the difference looked for is small
WARM_UP = 20
CELL = "print('a small print')"


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    rounds = ROUNDS_PER_CELL * effort.cells
    with ExitStack() as stack:
        kernels = {name: stack.enter_context(here.gpu_kernel()) for name in ("one", "other")}
        for kernel in kernels.values():
            kernel.wait_until_heard()
            kernel.execute(CELL)
        wait_for_rest(here.broker(), held=len(kernels))
        contenders = {name: partial(_run, kernel) for name, kernel in kernels.items()}
        before = alternate(rounds, contenders, warm_up=WARM_UP)
        at_rest = _cpu_percent(kernels["one"], effort)
        kernels["one"].execute("%gpu monitor")
        after = alternate(rounds, contenders, warm_up=WARM_UP)
        watched_at_rest = _cpu_percent(kernels["one"], effort)
    yield milliseconds(SUBJECT, "GPU kernel: a small print", before["one"].p50, detail=_of(before["one"]))
    ratio = (after["one"].p50 / after["other"].p50) / (before["one"].p50 / before["other"].p50)
    yield milliseconds(SUBJECT, "… with a panel", after["one"].p50, detail=_of(after["one"]), ratio=ratio, mark=ADDS)
    more = watched_at_rest - at_rest
    detail = f"{watched_at_rest:.2f} % of a core, {at_rest:.2f} % without"
    yield Figure(SUBJECT, "… what the panel adds at rest, in that kernel", more, "% of a core", detail, more, OF_A_CORE)


def _run(front_end: FrontEnd, code: str = CELL) -> float:
    return front_end.execute(code).done_s


def _cpu_percent(kernel: FrontEnd, effort: Effort) -> float:
    """Of one core, of the kernel's process at home while nothing runs."""
    process = psutil.Process(kernel.process.pid)
    before, started = process.cpu_times(), time.monotonic()
    time.sleep(20 if effort.cells >= 100 else 2)
    after, took_s = process.cpu_times(), time.monotonic() - started
    return 100 * (after.user + after.system - before.user - before.system) / took_s


def _of(timings: Timings) -> str:
    return f"p50 of {len(timings)}, p95 {timings.p95 * 1000:.1f} ms"
