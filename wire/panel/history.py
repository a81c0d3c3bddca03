"""The last two minutes of a kernel's samples, as the panel's charts draw them."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..usage import GpuUsage, UsageAt

KEPT = 120

# Of each GPU, in this order; the script reads them by place.
_FIGURES = ("utilization_percent", "memory_used_bytes", "own_memory_bytes", "power_milliwatts", "temperature_celsius")


class History:
    def __init__(self) -> None:
        self._samples: deque[UsageAt] = deque(maxlen=KEPT)

    def add(self, samples: list[UsageAt]) -> None:
        """Those that are not known yet; after a reconnection some come again."""
        last = self._samples[-1].at if self._samples else ""
        self._samples.extend(sample for sample in samples if sample.at > last)

    @property
    def newest(self) -> UsageAt | None:
        return self._samples[-1] if self._samples else None

    def document(self) -> list[list[Any]]:
        """One list for each sample: when, the kernel's CPU percent, and for each GPU its id and its figures."""
        return [
            [sample.at, round(sample.cpu_percent, 1), [_figures(gpu) for gpu in sample.gpus]]
            for sample in self._samples
        ]


def _figures(gpu: GpuUsage) -> list[Any]:
    return [gpu.uuid, *(getattr(gpu, name) for name in _FIGURES)]
