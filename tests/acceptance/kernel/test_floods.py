"""Much output, and a reader that pauses: everything arrives, ``idle`` too, and memory stays bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from ..notebook_kernel import CellResult
from .front_end import FrontEnd, is_idle

pytestmark = pytest.mark.xdist_group("kernel-floods")

MIB = 1 << 20
MOST_GROWTH_BYTES = 128 * MIB  # of the kernel's process, whatever is printed: two windows, and what is on its way


class Peak:
    """The most memory that a process was seen to have, above what it had at first."""

    growth_bytes = 0


@contextmanager
def peak_of(pid: int) -> Iterator[Peak]:
    process, peak, done = psutil.Process(pid), Peak(), threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not done.wait(0.02):
            peak.growth_bytes = max(peak.growth_bytes, process.memory_info().rss - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def run_late(kernel: FrontEnd, code: str, pause_s: float) -> CellResult:
    """Run a cell without reading anything for a while."""
    message_id = kernel.start(code)
    time.sleep(pause_s)
    return kernel.finish(message_id, timeout_s=100)


def test_fifty_thousand_flushed_prints_reach_a_reader_that_pauses(gpu_kernel: FrontEnd):
    with peak_of(gpu_kernel.pid) as peak:
        cell = run_late(gpu_kernel, "for n in range(50_000): print(n, flush=True)", pause_s=3)
    assert cell.stdout.split() == [str(n) for n in range(50_000)]
    assert is_idle(cell.messages[-1])
    assert peak.growth_bytes < MOST_GROWTH_BYTES


def test_five_thousand_displays_reach_a_reader_that_pauses(gpu_kernel: FrontEnd):
    cell = run_late(gpu_kernel, "for n in range(5_000): display(n)", pause_s=2)
    assert [m["content"]["data"]["text/plain"] for m in cell.of("display_data")] == [str(n) for n in range(5_000)]
    assert is_idle(cell.messages[-1])


def test_more_than_fits_anywhere_waits_in_the_cell_that_prints(gpu_kernel: FrontEnd):
    """300 MB, and the reader pauses: the cell waits in print, and nobody's memory holds it all."""
    code = "text = 'x' * 100_000\nfor n in range(3_000): print(text, flush=True)"
    with peak_of(gpu_kernel.pid) as peak:
        message_id = gpu_kernel.start(code)
        time.sleep(3)
        printed = sum(
            len(m["content"]["text"]) for m in gpu_kernel.output(message_id, 100) if m["msg_type"] == "stream"
        )
    assert printed == 3_000 * 100_001
    assert gpu_kernel.reply(message_id)["content"]["status"] == "ok"
    assert peak.growth_bytes < MOST_GROWTH_BYTES


def test_one_display_of_a_hundred_megabytes(gpu_kernel: FrontEnd):
    code = "display({'text/plain': 'large', 'application/x-bytes': 'x' * 100_000_000}, raw=True)\n'after'"
    cell = gpu_kernel.run(code, timeout_s=100)
    (shown,) = cell.of("display_data")
    assert len(shown["content"]["data"]["application/x-bytes"]) == 100_000_000
    assert cell.result == "'after'"


def test_a_large_buffer_of_a_comm_comes_back(gpu_kernel: FrontEnd):
    """More than one message of the link holds, both ways."""
    code = """
from comm import get_comm_manager
def opened(comm, message): comm.on_msg(lambda message: comm.send({}, buffers=message['buffers']))
get_comm_manager().register_target('mirror', opened)
"""
    assert gpu_kernel.run(code).ok
    gpu_kernel.output(gpu_kernel.send("comm_open", {"comm_id": "m", "target_name": "mirror", "data": {}}))
    data = bytes(range(256)) * (40 * MIB // 256)
    answers = gpu_kernel.output(gpu_kernel.send("comm_msg", {"comm_id": "m", "data": {}}, buffers=[data]), 100)
    (answer,) = [m for m in answers if m["msg_type"] == "comm_msg"]
    assert bytes(answer["buffers"][0]) == data
