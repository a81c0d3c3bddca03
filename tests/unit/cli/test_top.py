"""``perijove top``: the picture that it draws of what the broker says."""

from __future__ import annotations

from typing import Any

from perijove.cli.top import Sort, picture, rate_of_spend
from rich.console import Console

GIB = 1 << 30


def gpu(index: int, **details: Any) -> dict[str, Any]:
    return {
        "uuid": f"GPU-{index}",
        "index": index,
        "model": "H100",
        "simulated": False,
        "state": "free",
        "reason": "",
        "usage": None,
        **details,
    }


def kernel(user: str, gpu_name: str, state: str, cost: int | None, **details: Any) -> dict[str, Any]:
    lease = None
    if cost is not None:
        lease = {"price_microdollars_per_second": 1000, "count": 1, "cost_nanodollars": cost}
    return {
        "id": f"id-{user}",
        "user": user,
        "name": f"{user}-notebook",
        "gpu": gpu_name,
        "gpus": None,
        "state": "attached" if state in ("busy", "idle") else state,
        "busy": state == "busy",
        "lease": lease,
        "simulated": False,
        "release_in_s": None,
        **details,
    }


def document(gpus: list[dict[str, Any]], kernels: list[dict[str, Any]], state: str = "connected") -> dict[str, Any]:
    return {"agents": [{"name": "gpu-box", "state": state, "gpus": gpus}], "kernels": kernels, "queue": []}


def drawn(of: dict[str, Any], sort: Sort = Sort.COST, stale: str = "") -> list[str]:
    console = Console(width=140, color_system=None, file=None)
    with console.capture() as capture:
        console.print(picture(of, sort, stale))
    return [line.rstrip() for line in capture.get().splitlines()]


BUSY = {
    "problem": "",
    "utilization_percent": 87.0,
    "memory_used_bytes": 40 * GIB,
    "memory_total_bytes": 80 * GIB,
    "power_milliwatts": 612_000,
    "temperature_celsius": 71,
    "throttled_by": ["power"],
}


def test_a_device_its_load_and_who_holds_it() -> None:
    holding = kernel("ada", "H100", "busy", 5_000_000_000, gpus={"uuids": ["GPU-0"]})
    heading, _, held, free, *_ = drawn(document([gpu(0, state="held", usage=BUSY), gpu(1)], [holding]))
    assert heading.startswith("perijove 1 of 2 GPUs held · 0 waiting · $3.6000/h")
    for shown in (
        "0: H100",
        "█████████░  87 %",
        "40.0 of 80 GiB",
        "612 W",
        "71 °C, slowed by power",
        "ada · ada-noteb",
    ):
        assert shown in held
    assert "unknown" in free
    assert free.endswith("free")


def test_simulated_devices_and_dollars_are_called_so() -> None:
    holding = kernel("ada", "H100", "idle", 10**9, simulated=True, gpus={"uuids": ["GPU-0"]}, release_in_s=41.6)
    lines = drawn(document([gpu(0, simulated=True, state="held")], [holding]))
    assert "$0.0000/h · simulated $3.6000/h" in lines[0]
    assert "H100 (simulated)" in lines[2]
    assert "$1.0000 simulated" in lines[-1]
    assert "42 s" in lines[-1]
    assert rate_of_spend({"kernels": [holding]}).real == 0


def test_a_lost_device_and_an_agent_that_is_away() -> None:
    lost = gpu(0, state="lost", reason="it fell off the bus", usage={"problem": "GPU is lost"})
    line = drawn(document([lost], [], state="away"))[2]
    assert "gpu-box (away)" in line
    assert "unknown" in line
    assert "lost: it fell off the bus" in line


def test_a_device_in_doubt_says_why_whoever_holds_it_and_a_programs_own_error_is_told() -> None:
    holding = kernel("ada", "H100", "busy", 1, gpus={"uuids": ["GPU-0"]})
    in_doubt = gpu(0, state="held", reason="Xid 79: the GPU has fallen off the bus (12:03 UTC)")
    reported = gpu(1, place="1:0", model="H100-1g.10gb", usage={"last_xid": "Xid 31: a page fault (12:04 UTC)"})
    _, _, first, second, *_ = drawn(document([in_doubt, reported], [holding]))
    assert first.endswith("ada · ada-notebook: Xid 79: the GPU has fallen off the bus (12:03 UTC)")
    assert "1:0: H100-1g.10gb" in second
    assert second.endswith("free: Xid 31: a page fault (12:04 UTC)")


def test_sorting() -> None:
    kernels = [kernel("bob", "A100", "idle", 1), kernel("ada", "H100", "busy", 2), kernel("eve", "L4", "queued", None)]

    def users(sort: Sort) -> list[str]:
        return [line.split()[0] for line in drawn(document([gpu(0)], kernels), sort)[-3:]]

    assert users(Sort.COST) == ["ada", "bob", "eve"]
    assert users(Sort.GPU) == ["bob", "ada", "eve"]
    assert users(Sort.USER) == ["ada", "bob", "eve"]
    assert users(Sort.STATE) == ["ada", "bob", "eve"]


def test_a_names_markup_is_no_markup() -> None:
    line = drawn(document([gpu(0)], [kernel("[red]ada", "H100", "busy", 1)]))[-1]
    assert "[red]ada" in line
    assert " busy " in line


def test_the_queue_and_staleness_are_said() -> None:
    waiting = {"user": "bob", "waiting_s": 12.4, "reason": "waiting for H100: 1st in line"}
    lines = drawn(document([gpu(0)], []) | {"queue": [waiting]}, stale="as of 7 s ago: the broker does not answer")
    assert lines[1] == "as of 7 s ago: the broker does not answer"
    assert lines[-1] == "bob waits 12 s: waiting for H100: 1st in line"
