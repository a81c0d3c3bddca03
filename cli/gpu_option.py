"""``--gpu SPEC`` on the command line."""

from __future__ import annotations

from ..wire.errors import InvalidGpuSpec, UsageError
from ..wire.gpu_spec import GpuSpec, parse_gpu_spec


def gpu_spec_option(text: str) -> GpuSpec:
    """Read the option.

    Raises:
        UsageError: when it cannot be read; a mistake in a command is exit status 2.
    """
    try:
        return parse_gpu_spec(text)
    except InvalidGpuSpec as error:
        raise UsageError(f"--gpu: {error}") from None
