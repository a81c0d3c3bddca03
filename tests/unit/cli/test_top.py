"""``perijove top``: the picture that it draws of what the broker says."""

from __future__ import annotations

from typing import Any

import pytest
from perijove.cli.top_keys import Keys, Selection, Wish, after_key, looked
from perijove.cli.top_picture import Sort, picture, rate_of_spend, rows_of, screen
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
    return {"agents": [{"id": "a1", "name": "gpu-box", "state": state, "gpus": gpus}], "kernels": kernels, "queue": []}


def drawn(of: dict[str, Any], sort: Sort = Sort.COST) -> list[str]:
    console = Console(width=140, color_system=None, file=None)
    with console.capture() as capture:
        console.print(picture(of, sort))
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


def test_the_queue_is_said() -> None:
    waiting = {"user": "bob", "waiting_s": 12.4, "reason": "waiting for H100: 1st in line"}
    assert drawn(document([gpu(0)], []) | {"queue": [waiting]})[-1] == "bob waits 12 s: waiting for H100: 1st in line"


def test_an_agent_that_drains() -> None:
    assert "gpu-box (draining)" in drawn(document([gpu(0)], [], state="draining"))[2]


# on a screen ----------------------------------------------------------------------------------------------------------


def on_screen(of: dict[str, Any], state: Selection, width: int, height: int, stale: str = "") -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(screen(of, state, stale, console))
    return [line.rstrip() for line in capture.get().splitlines()]


MANY_GPUS = [gpu(number, usage=BUSY) for number in range(40)]
MANY_KERNELS = [kernel(f"user{number:02}", "H100", "busy", number) for number in range(30)]
WAITING = [{"user": "bob", "waiting_s": 1, "reason": f"waiting for H100: {place} in line"} for place in range(9)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (140, 50), (40, 13)])
@pytest.mark.parametrize("stale", ["", "as of 7 s ago: the broker at http://127.0.0.1:8787 does not answer"])
def test_nothing_is_pushed_off_the_screen(width: int, height: int, stale: str) -> None:
    of = document(MANY_GPUS, MANY_KERNELS) | {"queue": WAITING}
    for rows in (rows_of(of, Sort.COST)[:1], rows_of(of, Sort.COST)[-1:]):
        state = Selection(row=rows[0], asking=Wish("release ada · work? its variables are kept", "", nothing))
        lines = on_screen(of, state, width, height, stale)
        assert len(lines) == height
        assert all(len(line) <= width for line in lines)
        assert lines[0].startswith("perijove 0 of 40 GPUs held")
        assert lines[-1].startswith("↑↓ select · r release · d drain")
        said = " ".join(lines[-3:-1]) if width < 80 else lines[-2]
        assert said.endswith("y/n: release ada · work? its variables are kept")
        assert any("more wait" in line for line in lines)
        assert not stale or lines[1].startswith("as of 7 s ago: the broker at")


@pytest.mark.parametrize("height", [12, 24, 40])
def test_what_is_selected_is_in_sight(height: int) -> None:
    of = document(MANY_GPUS, MANY_KERNELS)
    for place, row in enumerate(rows_of(of, Sort.USER)):
        lines = on_screen(of, Selection(Sort.USER, row), 80, height)
        wanted = f"user{place - 40:02}" if place >= 40 else f"{place}: H100"
        assert any(wanted in line for line in lines), (place, lines)


def test_with_few_rows_keys_are_still_at_the_bottom() -> None:
    lines = on_screen(document([gpu(0)], []), Selection(said="asked to release it"), 80, 24)
    assert (len(lines), lines[-2]) == (24, "asked to release it")
    assert "gpu-box" in lines[2]


# keys -----------------------------------------------------------------------------------------------------------------


async def nothing(_: Any) -> None:
    """What a wish does where only its words matter."""


def pressed(of: dict[str, Any], *keys: str) -> tuple[Selection, list[Wish]]:
    state, wishes = Selection(), []
    for key in keys:
        state, wish = after_key(state, of, key)
        wishes += [wish] if wish is not None else []
    return state, wishes


def test_arrows_are_keys_and_escape_too() -> None:
    keys = Keys()
    assert [*keys.read("s\x1b[A\x1b[B\x1bOBr"), *keys.read("\x1b[")] == ["s", "k", "j", "j", "r"]
    assert list(keys.read("A")) == ["k"]
    assert list(keys.read("\x1b")) == ["\x1b"]
    assert list(keys.read("\x1b[Cq")) == ["q"]  # an arrow that means nothing here


HELD = document(
    [gpu(0, state="held"), gpu(1)],
    [
        kernel("ada", "H100", "busy", 5, gpus={"uuids": ["GPU-0"], "agent_id": "a1"}, keeps_state=True),
        kernel("bob", "H100", "suspended", None, keeps_state=True),
    ],
)
HELD["agents"][0] |= {"id": "a1", "drain": None}


def test_up_and_down_go_through_all_rows_and_stop_at_the_ends() -> None:
    kernels = [pressed(HELD, *"j" * times)[0].row for times in range(1, 7)]
    assert [(row.uuid or row.kernel_id) for row in kernels if row] == ["GPU-0", "GPU-1", *["id-ada"], *["id-bob"] * 3]
    up = pressed(HELD, "k", "k", "k", "k", "k")[0].row
    assert up is not None
    assert up.uuid == "GPU-0"


@pytest.mark.parametrize("keys", ["jr", "jjjr"])
def test_release_asks_first_and_says_what_it_does(keys: str) -> None:
    state, wishes = pressed(HELD, *keys)
    assert state.asking is not None
    assert state.asking.question == (
        "release ada · ada-notebook? the cell that runs is interrupted, its variables are kept"
    )
    assert wishes == []
    for no in ("n", "\x1b", "j", "\r", "q"):
        state, wishes = pressed(HELD, *keys, no)
        assert (state.asking, state.said, wishes) == (None, "nothing was done", [])
    state, wishes = pressed(HELD, *keys, "y")
    assert state.asking is None
    assert [wish.done for wish in wishes] == ["asked to release ada · ada-notebook"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("r", "select a row first, with the arrow keys"),
        ("d", "select a row first, with the arrow keys"),
        ("jjr", "no kernel of yours holds that device"),
        ("jjjjr", "that kernel holds no GPU and waits for none: there is nothing to release"),
        ("jjjjd", "that kernel is on no agent at the moment"),
    ],
)
def test_what_cannot_be_done_is_said(keys: str, said: str) -> None:
    assert pressed(HELD, *keys, "y")[1] == []
    assert pressed(HELD, *keys)[0].said == said


@pytest.mark.parametrize("keys", ["jd", "jjd", "jjjd"])
def test_draining_the_agent_of_a_device_or_of_a_kernel(keys: str) -> None:
    state, _ = pressed(HELD, *keys)
    assert state.asking is not None
    assert state.asking.question.startswith("drain gpu-box? it takes no new work")
    draining = {**HELD, "agents": [HELD["agents"][0] | {"drain": {"asked_by": "ann", "by_agent": False}}]}
    state, _ = pressed(draining, *keys)
    assert state.asking is not None
    assert state.asking.question == "have gpu-box take new work again?"


def test_what_an_agent_has_asked_for_itself_is_not_undone_from_here() -> None:
    itself = {**HELD, "agents": [HELD["agents"][0] | {"drain": {"asked_by": "the agent itself", "by_agent": True}}]}
    state, wishes = pressed(itself, "j", "d", "y")
    assert wishes == []
    assert state.asking is None
    assert pressed(itself, "j", "d")[0].said.startswith("gpu-box has asked for that itself")


def test_what_is_gone_is_selected_no_more_and_nothing_is_done_to_it() -> None:
    state, _ = pressed(HELD, *"jjjr")
    state = looked(state, document([gpu(0), gpu(1)], []))
    assert (state.row, state.asking, state.said) == (None, None, "what was selected is gone")


def test_variables_that_would_be_lost_are_named_in_the_question() -> None:
    asking = pressed(HELD | {"kernels": [HELD["kernels"][0] | {"keeps_state": False}]}, *"jr")[0].asking
    assert asking is not None
    assert asking.question.endswith("its variables are LOST")
