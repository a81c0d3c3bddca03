"""The machine's two clocks. Boot time keeps counting while the machine sleeps, where the system offers that."""

from __future__ import annotations

import time

from .core.clock import BootMs, Now, WallMs

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def system_now() -> Now:
    return Now(BootMs(time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000), WallMs(time.time_ns() // 1_000_000))
