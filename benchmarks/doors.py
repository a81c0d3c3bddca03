"""Both doors from the outside: how soon a kernel is there, and how soon its first cell is answered.

The doors' kernels are *detached*: known to the broker, without a GPU and without a process, as when a notebook was just
opened; or *suspended*: released with their process and variables. Between attaches they are released by ``%gpu`` cells
and the agent fills its spares up again, outside of the timing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from perijove.client.address import BrokerAddress

from .attach import FASTER, STEADY
from .cells import RunsCells
from .effort import Effort
from .figures import Figure, Mark, faster, milliseconds
from .home import Home, gpu_kernel, wait_for_rest
from .measure import Timings, alternate
from .peers.cold_start import start_to_first_cell, start_to_kernel_info
from .ways import our_ways

SUBJECT = "doors"
NO_SLOWER = Mark(1, at_least=False, meaning="plain ipykernel's")
COLD, DETACHED, SUSPENDED = "cold", "detached", "suspended"


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    broker = here.broker()
    yield from _starts(effort, here)
    with ExitStack() as stack:
        doors = our_ways(here, stack)
        contenders: dict[tuple[str, str], Callable[[], float]] = {
            ("", COLD): lambda: start_to_first_cell(here.directory)
        }
        for door, front_end in doors.items():
            front_end.execute("pass")
            front_end.execute("%gpu release")
            contenders[door, SUSPENDED] = partial(_attach, front_end, broker, end=False)
            contenders[door, DETACHED] = partial(_attach, front_end, broker, end=True)
        taken = alternate(effort.attaches, contenders, warm_up=effort.attach_warm_up)
    cold = taken["", COLD]
    yield milliseconds(SUBJECT, "ipykernel, cold: start to the reply of a first cell", cold.p50, detail=_of(cold))
    for door in doors:
        for state in (DETACHED, SUSPENDED):
            warm = taken[door, state]
            ratio = faster(cold.p50, warm.p50)
            what = f"{door}: first cell when {state}, to its reply"
            yield milliseconds(SUBJECT, what, warm.p50, detail=_of(warm), ratio=ratio, mark=FASTER)
            yield milliseconds(
                SUBJECT, "… its p99", warm.p99, detail="simulated", ratio=warm.p99 / warm.p50, mark=STEADY
            )


def _starts(effort: Effort, here: Home) -> Iterator[Figure]:
    """From creating the process to the reply to a kernel_info_request: what a launcher waits for."""
    ours = partial(start_to_kernel_info, here.directory, here.environment, gpu_kernel)
    plain = partial(start_to_kernel_info, here.directory)
    starts = alternate(effort.cold_starts, {PLAIN_START: plain, OUR_START: ours}, warm_up=1)
    base = starts[PLAIN_START]
    yield milliseconds(SUBJECT, PLAIN_START, base.p50, detail=_of(base))
    taken = starts[OUR_START]
    yield milliseconds(SUBJECT, OUR_START, taken.p50, detail=_of(taken), ratio=taken.p50 / base.p50, mark=NO_SLOWER)


PLAIN_START = "ipykernel: start of the process to kernel_info_reply"
OUR_START = "GPU kernel: start of the process to kernel_info_reply"


def _attach(front_end: RunsCells, broker: BrokerAddress, *, end: bool) -> float:
    """``front_end``'s kernel is suspended, before and after; with ``end``, its process is ended first."""
    if end:
        front_end.execute("%gpu restart")
    wait_for_rest(broker)
    seconds = front_end.execute("pass").reply_s
    front_end.execute("%gpu release")
    return seconds


def _of(timings: Timings) -> str:
    return f"p50 of {len(timings)}, p99 {timings.p99 * 1000:.0f} ms"
