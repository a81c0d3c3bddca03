"""``perijove status``: what a person reads off one screen."""

from __future__ import annotations

from typing import Any

from perijove.cli.status import overview
from rich.console import Console

GIB = 1 << 30


def gpu(index: int, state: str = "free", **details: Any) -> dict[str, Any]:
    return {"index": index, "model": "H100", "simulated": False, "state": state, "reason": "", **details}


def agent(name: str, *gpus: dict[str, Any], state: str = "connected", **details: Any) -> dict[str, Any]:
    host = {"cpu_percent": 12.4, "cores": 64, "memory_used_bytes": 100 * GIB, "memory_total_bytes": 512 * GIB}
    return {"id": f"id-{name}", "name": name, "state": state, "gpus": list(gpus), "host": host, **details}


def kernel(user: str, state: str, *, cost: int | None = None, spent: int = 0, **details: Any) -> dict[str, Any]:
    lease = None if cost is None else {"price_microdollars_per_second": 1000, "count": 1, "cost_nanodollars": cost}
    return {
        "id": f"{user}-0123456789",
        "name": "work",
        "user": user,
        "state": "attached" if state in ("busy", "idle") else state,
        "busy": state == "busy",
        "gpu": "H100",
        "agent": None if lease is None else "gpu-1",
        "lease": lease,
        "simulated": False,
        "spent_nanodollars": spent,
        "spent_simulated_nanodollars": 0,
        "budget_nanodollars": None,
        "release_in_s": None,
        **details,
    }


def shown(
    agents: list[dict[str, Any]], kernels: list[dict[str, Any]], queue: list[dict[str, Any]] | None = None
) -> list[str]:
    broker = {"version": "1.2", "uptime_s": 3700.0}
    console = Console(width=140, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(overview({"broker": broker, "agents": agents, "kernels": kernels, "queue": queue or []}))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_what_is_up_and_what_it_costs() -> None:
    lines = shown(
        [agent("gpu-1", gpu(0, "held"), gpu(1)), agent("cpu-1")],
        [kernel("bob", "suspended", spent=2 * 10**9), kernel("ada", "busy", cost=10**9, spent=3 * 10**9)],
    )
    assert lines[0] == "perijove 1.2 · up 1 h 1 min · 1 of 2 GPUs held · 0 waiting · $3.6000/h"
    first = next(line for line in lines if "gpu-1 " in line)
    assert "2 × H100" in first
    assert "1 of 2" in first
    assert "CPU 12 %, 100 of 512 GiB" in first
    assert any("cpu-1" in line and "none" in line for line in lines)
    ada, bob = lines[-2:]  # who holds something comes first
    assert ada.split() == ["work", "ada", "busy", "H100", "on", "gpu-1", "$3.0000", "$3.6000"]
    assert bob.split() == ["work", "bob", "suspended", "H100", "$2.0000"]


def test_what_is_wrong_with_agents_and_who_asked_for_a_drain() -> None:
    drain = {"asked_by": "ann", "leases": 2, "suspended": 1}
    lines = shown(
        [
            agent("gpu-1", gpu(0), gpu(1, "unhealthy", reason="2 uncorrected memory errors")),
            agent("gpu-2", gpu(0), state="draining", drain=drain),
            agent("gpu-3", gpu(0), state="drained", drain=drain | {"leases": 0}),
            agent("gpu-4", gpu(0), state="away", away_s=75.2, host=None),
        ],
        [],
    )
    for name, note in (
        ("gpu-1", "GPU 1 unhealthy: 2 uncorrected memory errors"),
        ("gpu-2", "draining"),
        ("gpu-2", "asked by ann, 2 still on it"),
        ("gpu-3", "asked by ann, 1 suspended there"),
        ("gpu-4", "out of contact for 1 min 15 s"),
    ):
        assert any(line.startswith(name) and note in line for line in lines), (name, note, lines)
    assert lines[-1].startswith("no kernel is here")


def test_what_waits_and_why() -> None:
    reason = "waiting for H100: 1st in line: gpu-1 is draining (asked by ann)"
    lines = shown([], [kernel("bob", "queued")], [{"user": "bob", "waiting_s": 12.4, "reason": reason}])
    assert any(line.startswith("no agent is connected") for line in lines)
    assert lines[-1] == f"bob waits 12 s: {reason}"


def test_budgets_simulated_dollars_and_when_a_gpu_goes_back() -> None:
    holding = kernel(
        "ada",
        "idle",
        cost=1,
        spent=10**9,
        spent_simulated_nanodollars=10**9,
        simulated=True,
        budget_nanodollars=5 * 10**9,
        release_in_s=41.6,
    )
    lines = shown([agent("[b]gpu", gpu(0, "held", simulated=True))], [holding])
    assert "simulated $3.6000/h" in lines[0]
    assert "1 × H100 (simulated)" in lines[3]
    assert lines[3].startswith("[b]gpu")  # a name's markup is no markup
    assert "$1.0000 of $5.0000 simulated" in lines[-1]
    assert lines[-1].endswith("in 42 s")
