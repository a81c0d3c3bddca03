"""What the broker keeps of agents' samples, and whom it believes."""

from __future__ import annotations

from typing import Any, cast

import pytest
from perijove.broker.core.clock import BootMs, Now, WallMs
from perijove.broker.core.records import Kernel
from perijove.broker.usage.book import KEPT_SAMPLES, STALE_AFTER_MS, UsageBook
from perijove.wire.gpu_spec import parse_gpu_spec
from perijove.wire.usage import GpuSample, HostSample, KernelSample, OwnGpu, Usage

HOST = HostSample(cpu_percent=12.5, cores=2, memory_used_bytes=1, memory_total_bytes=2)


def at(boot_ms: int) -> Now:
    return Now(BootMs(boot_ms), WallMs(1_700_000_000_000 + boot_ms))


def kernel(kernel_id: str = "k1", **details: Any) -> Kernel:
    given = {"agent_id": "a1", "agent_name": "gpu-box", "incarnation": "aa", **details}
    return Kernel(kernel_id, "ada", "work", parse_gpu_spec("H100"), WallMs(0), **given)


def usage(*kernel_ids: str, cpu_percent: float = 50.0) -> Usage:
    own = [OwnGpu(uuid="GPU-1", own_memory_bytes=7)]
    kernels = [
        KernelSample(kernel_id=each, processes=1, cpu_percent=cpu_percent, memory_bytes=100, gpus=own)
        for each in kernel_ids
    ]
    return Usage(host=HOST, gpus=[GpuSample(uuid="GPU-1", utilization_percent=40.0)], kernels=kernels)


@pytest.fixture
def book() -> UsageBook:
    return UsageBook()


def test_a_kernel_sees_its_device_and_its_own_part_of_it(book: UsageBook) -> None:
    book.take("a1", usage("k1"), {"k1": kernel()}, at(1000))
    answer = book.of_kernel(kernel(), at(1500))
    assert (answer.live, answer.reason, answer.host) == (True, "", HOST)
    (sample,) = answer.samples
    assert sample.at == "2023-11-14T22:13:21.000Z"
    assert sample.cpu_percent == 50.0
    (gpu,) = sample.gpus
    assert (gpu.uuid, gpu.utilization_percent, gpu.own_memory_bytes) == ("GPU-1", 40.0, 7)


def test_an_agent_is_not_believed_about_kernels_of_another(book: UsageBook) -> None:
    book.take("a2", usage("k1", "unknown"), {"k1": kernel()}, at(1000))
    assert book.of_kernel(kernel(), at(1000)).samples == []


def test_what_is_old_says_so_and_is_still_shown(book: UsageBook) -> None:
    book.take("a1", usage("k1"), {"k1": kernel()}, at(0))
    answer = book.of_kernel(kernel(), at(STALE_AFTER_MS + 1))
    assert not answer.live
    assert answer.reason == "the agent gpu-box does not report at the moment"
    assert len(answer.samples) == 1
    assert answer.host is None
    assert book.gpu("a1", "GPU-1", at(STALE_AFTER_MS)) is not None
    assert book.gpu("a1", "GPU-1", at(STALE_AFTER_MS + 1)) is None


def test_an_agent_that_has_left_does_nothing_now(book: UsageBook) -> None:
    book.take("a1", usage(), {}, at(0))
    book.gone("a1")
    assert book.gpu("a1", "GPU-1", at(1)) is None
    assert book.host("a1", at(1)) is None


def test_five_minutes_are_kept_and_kernels_that_have_ended_are_not(book: UsageBook) -> None:
    for second in range(KEPT_SAMPLES + 5):
        book.take("a1", usage("k1", cpu_percent=second), {"k1": kernel()}, at(second * 1000))
    samples = book.of_kernel(kernel(), at(0)).samples
    assert [sample.cpu_percent for sample in samples] == [float(second) for second in range(5, KEPT_SAMPLES + 5)]
    book.forget({}, at(0))
    assert book.of_kernel(kernel(), at(0)).samples == []


def test_why_a_kernel_without_a_process_shows_nothing(book: UsageBook) -> None:
    detached = cast(Kernel, kernel(incarnation=None, agent_id=None))
    assert book.of_kernel(detached, at(0)).reason == "no GPU has been asked for yet"
