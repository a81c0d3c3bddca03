"""What the broker says of a front-end's kernel, as ``perijove status --json`` has it."""

from __future__ import annotations

import json
from typing import Any

from ..conftest import perijove
from ..observing import wait_until
from .front_end import FrontEnd


def found(front_end: FrontEnd) -> dict[str, Any] | None:
    """The kernel behind a front-end; None when there is none (any more)."""
    document = json.loads(perijove(front_end.environment, "status", "--json"))
    return next((kernel for kernel in document["kernels"] if kernel["name"] == front_end.broker_name), None)


def state_of(front_end: FrontEnd) -> str:
    kernel = found(front_end)
    return str(kernel["state"]) if kernel is not None else "gone"


def wait_for_state(front_end: FrontEnd, *states: str, within_s: float = 30.0) -> None:
    wait_until(lambda: state_of(front_end) in states, within_s)


def leases_of(front_end: FrontEnd) -> list[dict[str, Any]]:
    """On the bill."""
    kernel = found(front_end)
    assert kernel is not None
    bill = json.loads(perijove(front_end.environment, "bill", "--json"))
    return [lease for lease in bill["leases"] if lease["kernel"] == kernel["id"]]
