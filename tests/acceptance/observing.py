"""What an outsider sees of a broker, and waiting for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from .conftest import perijove


def held_gpus(environment: dict[str, str]) -> int:
    """How many GPUs kernels hold, as ``perijove status`` says."""
    document = json.loads(perijove(environment, "status", "--json"))
    return sum(gpu["state"] == "held" for agent in document["agents"] for gpu in agent["gpus"])


def wait_until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
