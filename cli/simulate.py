"""``--simulate H100:2``: the only way to stand-in GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..wire.errors import UsageError
from ..wire.gpu_spec import parse_gpu_spec

SIMULATE_HELP = "Offer stand-in GPUs, such as H100:2; repeatable. They compute on the CPU and are called simulated."


def simulated_gpus(options: Sequence[str]) -> list[tuple[str, int]]:
    """(model, count) for each option, or for PERIJOVE_SIMULATE (comma-separated) where no option is given.

    Raises:
        UsageError: when an option names no model.
    """
    texts = list(options) or [part for part in os.environ.get("PERIJOVE_SIMULATE", "").split(",") if part.strip()]
    wanted = []
    for text in texts:
        spec = parse_gpu_spec(text)
        if len(spec.choices) != 1 or spec.choices[0].model is None:
            raise UsageError(f"--simulate takes one GPU model and a count, like H100:2, and not {text!r}")
        wanted.append((spec.choices[0].model, spec.choices[0].count))
    return wanted
