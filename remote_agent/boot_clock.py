"""The clock that leases and allowances are counted on: it never jumps, and it goes on while the machine sleeps.

A laptop that was closed for an hour has used up its allowances; the monotonic clock would not know on Linux.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Nanoseconds since some fixed point, never going back."""

_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # elsewhere the monotonic clock counts sleep


def boot_ns() -> int:
    return time.clock_gettime_ns(_CLOCK_ID)
