"""Warm attach: the first ``%%gpu`` on a detached kernel to its reply, beside the cold start of a plain ipykernel.

Between attaches the kernel is released for good (its process ends), and the agent fills its spares up again; both are
outside of the timing, as they are for a user, but not free: the next attach waits until the machine has come to rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from perijove import __version__
from perijove.client.address import BrokerAddress
from perijove.client.channel import KernelChannel
from perijove.client.http import BrokerClient

from .effort import Effort
from .figures import Figure, Mark, faster, milliseconds
from .front_end import FrontEnd
from .home import GPU, Home, wait_for_rest
from .measure import Timings, alternate, repeat
from .peers.cold_start import start_to_first_cell, start_to_kernel_info

SUBJECT = "attach"
FASTER = Mark(20, at_least=True, meaning="faster than a cold start")
STEADY = Mark(4, at_least=False, meaning="its p50")
_END = "get_ipython()._perijove_magics.notebook.kernels[{!r}].release(end=True)"


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    info = repeat(effort.cold_starts, lambda: start_to_kernel_info(here.directory), warm_up=1)
    yield milliseconds(SUBJECT, "ipykernel, cold: start to kernel_info_reply", info.p50, detail=_of(info))
    with here.notebook() as notebook:
        notebook.execute(f"%%gpu {GPU}\npass")  # starts the embedded broker, outside of any timing
        broker = here.broker()
        notebook.execute(_END.format(GPU))
        contenders = {
            "cold": lambda: start_to_first_cell(here.directory),
            "detached": lambda: _attach_detached(notebook, broker),
            "new": lambda: _attach_new(notebook, broker),
        }
        taken = alternate(effort.attaches, contenders, warm_up=effort.attach_warm_up)
        client = asyncio.run(_attach_as_client(broker, effort.attaches))
    cold = taken["cold"]
    yield milliseconds(SUBJECT, "ipykernel, cold: start to the reply of a first cell", cold.p50, detail=_of(cold))
    yield from _against(cold, "%%gpu on a detached kernel, to its reply", taken["detached"])
    yield from _against(cold, "%%gpu on a kernel never used, to its reply", taken["new"])
    yield milliseconds(SUBJECT, "client alone: attach request to Reply", client.p50, detail=_of(client))


def _against(cold: Timings, what: str, warm: Timings) -> Iterator[Figure]:
    yield milliseconds(SUBJECT, what, warm.p50, detail=_of(warm), ratio=faster(cold.p50, warm.p50), mark=FASTER)
    yield milliseconds(SUBJECT, "… its p99", warm.p99, detail="simulated", ratio=warm.p99 / warm.p50, mark=STEADY)


def _of(timings: Timings) -> str:
    return f"p50 of {len(timings)}, p99 {timings.p99 * 1000:.0f} ms"


def _attach_detached(notebook: FrontEnd, broker: BrokerAddress) -> float:
    """The kernel is known to the broker and linked, but has neither GPU nor process."""
    wait_for_rest(broker)
    seconds = notebook.execute(f"%%gpu {GPU}\npass").reply_s
    notebook.execute(_END.format(GPU))
    return seconds


def _attach_new(notebook: FrontEnd, broker: BrokerAddress) -> float:
    """The kernel has to be made at the broker and linked as well."""
    wait_for_rest(broker)
    name = f"new_{time.monotonic_ns()}"
    seconds = notebook.execute(f"%%gpu {GPU} --kernel {name}\npass").reply_s
    notebook.execute(_END.format(name))
    return seconds


class _Nobody:
    """Hears what happens on a channel, and does not care."""

    def __getattr__(self, name: str) -> object:
        return lambda *arguments: None


async def _attach_as_client(broker: BrokerAddress, times: int) -> Timings:
    """Without a notebook: what client, broker and agent need for it between them."""

    async def find_broker() -> BrokerAddress:
        return broker

    async with BrokerClient(broker) as http:
        kernel_id = await http.create_kernel("perijove", GPU)
    channel = KernelChannel(find_broker, kernel_id, _Nobody(), __version__)  # type: ignore[arg-type]
    link = asyncio.create_task(channel.run())
    seconds = []
    try:
        for _ in range(times):
            await asyncio.to_thread(wait_for_rest, broker)
            started = time.perf_counter()
            await channel.attach()
            seconds.append(time.perf_counter() - started)
            await channel.release(end=True)
    finally:
        await channel.goodbye()
        link.cancel()
    return Timings(tuple(seconds))
