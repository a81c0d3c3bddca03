"""The ways to a whole kernel that are compared, all open at once so that they can take turns.

Plain ipykernel is what a local notebook has, jupyter_server's WebSocket what a browser has; the GPU kernel and the
broker's ``/channels`` are the two doors to the same simulated GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .cells import RunsCells
from .channels import ChannelsFrontEnd
from .front_end import FrontEnd
from .home import KERNEL, Home, wait_for_rest
from .peers.notebook_server import KERNEL as PLAIN_KERNEL
from .peers.notebook_server import notebook_server

PLAIN = "ipykernel"
SERVER = "jupyter_server's WebSocket"
SERVER_NODELAY = "jupyter_server's, with TCP_NODELAY"
GPU_KERNEL = "GPU kernel"
CHANNELS = "broker's /channels"
OURS = (GPU_KERNEL, CHANNELS)


@contextmanager
def all_ways(here: Home) -> Iterator[dict[str, RunsCells]]:
    """A front-end for each way; ours hold their GPUs, and the machine has come to rest."""
    with ExitStack() as stack:
        ways: dict[str, RunsCells] = {}
        plain = ways[PLAIN] = stack.enter_context(FrontEnd(here.directory, {}))
        plain.wait_until_heard()
        for name, nodelay in ((SERVER, False), (SERVER_NODELAY, True)):
            server = stack.enter_context(notebook_server(here.directory, nodelay=nodelay))
            browser = ways[name] = stack.enter_context(ChannelsFrontEnd(server, PLAIN_KERNEL))
            browser.wait_until_heard()
        ways |= our_ways(here, stack)
        for name in OURS:
            ways[name].execute("pass")  # attaches
        wait_for_rest(here.broker(), held=len(OURS))
        yield ways


def our_ways(here: Home, stack: ExitStack) -> dict[str, FrontEnd | ChannelsFrontEnd]:
    """The two doors, with nothing attached; closed with ``stack``."""
    kernel = stack.enter_context(here.gpu_kernel())
    kernel.wait_until_heard()
    channels = stack.enter_context(ChannelsFrontEnd(here.kernel_server(), KERNEL))
    channels.wait_until_heard()
    return {GPU_KERNEL: kernel, CHANNELS: channels}
