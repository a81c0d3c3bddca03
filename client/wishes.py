"""What a user asks of every kernel by environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..wire.errors import UsageError


def wished_idle_timeout_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """``PERIJOVE_IDLE_TIMEOUT_S``: after how many quiet seconds a GPU goes back, instead of the broker's rule.

    Raises:
        UsageError: when it is no positive number.
    """
    text = environ.get("PERIJOVE_IDLE_TIMEOUT_S")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f"PERIJOVE_IDLE_TIMEOUT_S is {text!r}; it takes a positive number of seconds")
    return seconds


def wished_kernel_name(otherwise: str, environ: Mapping[str, str] = os.environ) -> str:
    """``PERIJOVE_KERNEL_NAME``: what the broker is to call the kernel, so that whoever started it finds it there."""
    return environ.get("PERIJOVE_KERNEL_NAME") or otherwise
