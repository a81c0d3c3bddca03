"""Stand-in GPUs, on request only, for trying and testing; every surface says that they are simulated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ...wire.errors import UsageError
from ...wire.gpu_spec import GIB
from ...wire.models import Gpu

_MEMORY_GIB = {
    "T4": 16,
    "L4": 24,
    "A10": 24,
    "A10G": 24,
    "L40S": 48,
    "A100-40GB": 40,
    "A100-80GB": 80,
    "RTX-PRO-6000": 96,
    "H100": 80,
    "H200": 141,
    "B200": 180,
    "B300": 288,
}
_OTHER_MEMORY_GIB = 24
_MODEL = re.compile(r"[A-Z][A-Z0-9-]*\Z")


def simulated_gpus(wanted: Sequence[tuple[str, int]], agent_id: str, first_index: int = 0) -> list[Gpu]:
    """Devices whose uuids are the same at each start of this agent, and no other agent's.

    Raises:
        UsageError: when a model or count cannot be one.
    """
    whose = hashlib.sha256(agent_id.encode()).hexdigest()[:12]
    gpus: list[Gpu] = []
    for given, count in wanted:
        model = "A100-80GB" if given.upper() == "A100" else given.upper()
        if not _MODEL.match(model) or count < 1:
            raise UsageError(f"{given}:{count} cannot be simulated; write --simulate H100:2")
        for _ in range(count):
            index = first_index + len(gpus)
            gpus.append(
                Gpu(
                    uuid=f"SIM-{model}-{index}-{whose}",
                    index=index,
                    model=model,
                    name=f"Simulated {model}",
                    memory_bytes=_MEMORY_GIB.get(model, _OTHER_MEMORY_GIB) * GIB,
                    simulated=True,
                )
            )
    return gpus
