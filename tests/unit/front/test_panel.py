"""The GPU kernel's panel: front-ends take it for one of the process's widgets, with a process and without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from perijove.wire.front.answers import CommandAnswer, ShowPanel
from perijove.wire.front.messages import document
from perijove.wire.usage import KernelUsage, UsageAt

from .world import World

VIEW = "application/vnd.jupyter.widget-view+json"
SAMPLE = UsageAt(at="2026-11-24T00:00:01.000Z", processes=1, cpu_percent=5, memory_bytes=7, gpus=[])


@pytest.fixture
def world() -> World:
    return World()


def monitor(world: World) -> str:
    """Run ``%gpu monitor``; the id of the panel's widget."""
    cell = world.run("%gpu monitor")
    world.answer_commands(CommandAnswer(panel=ShowPanel.ALWAYS))
    shown = world.content(cell, "execute_result")["data"]
    assert "as of" in shown["text/plain"]
    return str(shown[VIEW]["model_id"])


def press(world: World, panel: str, wish: str) -> str:
    return world.ask("comm_msg", {"comm_id": panel, "data": {"method": "custom", "content": {"wish": wish}}})


def updates(world: World, panel: str) -> list[dict[str, Any]]:
    return [
        said.content["data"]["state"]["now"]
        for said in world.said
        if said.type == "comm_msg" and said.content["comm_id"] == panel and "now" in said.content["data"]["state"]
    ]


def test_it_is_made_before_it_is_shown_and_costs_nothing(world: World) -> None:
    panel = monitor(world)
    types = [said.type for said in world.said]
    assert types.index("comm_open") < types.index("execute_result")
    opened = next(said for said in world.said if said.type == "comm_open").content
    assert (opened["comm_id"], opened["target_name"]) == (panel, "jupyter.widget")
    assert world.asked == 0


def test_shown_again_it_is_the_same_widget(world: World) -> None:
    assert monitor(world) == monitor(world)
    assert sum(said.type == "comm_open" for said in world.said) == 1


def test_it_hears_of_states_and_samples_at_most_twice_a_second(world: World) -> None:
    panel = monitor(world)
    world.grant()
    world.carry_out(world.front.usage_received(KernelUsage(kernel_id="k", live=True, samples=[SAMPLE]), world.now_s))
    assert not updates(world, panel)
    world.pass_time(0.5)
    (told,) = updates(world, panel)
    assert told["state"] == "attached"
    assert told["sample"]["cpu"] == 5
    world.pass_time(5)
    assert len(updates(world, panel)) == 1, "there was nothing to tell"


def test_without_a_panel_nothing_is_said_of_samples(world: World) -> None:
    world.grant()
    before = len(world.said)
    world.carry_out(world.front.usage_received(KernelUsage(kernel_id="k", live=True, samples=[SAMPLE]), world.now_s))
    world.pass_time(5)
    assert len(world.said) == before


@pytest.mark.parametrize("wish", ["release", "keep", "attach"])
def test_its_buttons_are_done_and_told_whatever_the_process_does(world: World, wish: str) -> None:
    panel = monitor(world)
    process = world.grant()
    world.run("while True: pass")
    world.begin()
    request = press(world, panel, wish)
    assert world.types(request) == ["busy", "idle"]
    assert world.wishes == [wish]
    assert not process.given, "it is not the process's"
    world.carry_out(world.front.wish_ended(world.wishes[0], "no", world.now_s))
    world.pass_time(1)
    assert updates(world, panel)[-1]["said"] == "no"


def test_its_interrupt_is_an_interrupt(world: World) -> None:
    panel = monitor(world)
    world.grant()
    world.run("while True: pass")
    world.begin()
    press(world, panel, "interrupt")
    assert len(world.interrupts) == 1


def test_pressing_while_the_kernel_waits_for_its_gpu_stops_the_wait(world: World) -> None:
    panel = monitor(world)
    cell = world.run("x = 1")
    assert world.asked == 1
    press(world, panel, "interrupt")
    assert world.content(cell, "execute_reply")["ename"] == "AttachCancelled"


# beside the status, where it can be seen -----------------------------------------------------------------------------

TABLE = {"text/plain": "kernel  state"}
STATUS = CommandAnswer(data=TABLE, metadata={"a": 1}, panel=ShowPanel.WHEN_DRAWN)


def status(world: World) -> str:
    cell = world.run("%gpu")
    world.answer_commands(STATUS)
    return cell


def draw(world: World) -> None:
    """A front-end says that it has the panel's script."""
    made = next(said for said in world.said if said.type == "comm_open").content["comm_id"]
    world.ask("comm_msg", {"comm_id": made, "data": {"method": "custom", "content": {"here": True}}})


def test_who_can_draw_it_has_it_beside_the_table_however_late_that_is_said(world: World) -> None:
    cells = [status(world), status(world)]
    shown = [world.content(cell, "display_data") for cell in cells]
    assert [content["data"] for content in shown] == [TABLE, TABLE], "nobody has waited"
    assert world.watched == 0, "nobody is told once a second what nobody sees"
    world.pass_time(30)
    draw(world)
    assert world.watched == 1
    for cell, content in zip(cells, shown, strict=True):
        later = world.content(cell, "update_display_data")
        assert later["transient"] == content["transient"]
        assert later["metadata"] == {"a": 1}
        assert later["data"]["text/plain"] == "kernel  state", "the table is for who sees no widget"
        assert VIEW in later["data"]
    assert shown[0]["transient"] != shown[1]["transient"]
    said = len(world.said)
    draw(world)
    assert [said.type for said in world.said[said:]] == ["status", "status"], "it stands there"


def test_once_it_is_drawn_the_status_has_it_at_once(world: World) -> None:
    status(world)
    draw(world)
    shown = world.content(status(world), "execute_result")
    assert VIEW in shown["data"]
    assert shown["data"]["text/plain"] == "kernel  state"


def test_a_status_among_other_code_has_it_only_if_it_is_drawn_by_then(world: World) -> None:
    process = world.grant()
    for has_it in (False, True):
        world.run("x = 1\n%gpu")
        cell = world.begin()
        world.emit("stdin", "perijove_command_request", {"line": ""}, bytes(cell.header))
        world.answer_commands(STATUS)
        reply = document(process.answers[-1].content)
        assert (VIEW in reply["data"]) is has_it
        world.work()
        draw(world)


# a page that was reloaded asks for all widgets ----------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, "jupyter.widget"])
def test_comm_info_knows_it(world: World, target: str | None) -> None:
    panel = monitor(world)
    content = {} if target is None else {"target_name": target}
    world.grant()
    request = world.ask("comm_info_request", content)
    frame = world.begin()
    of_process = {"status": "ok", "comms": {"other": {"target_name": "x"}}}
    world.emit("shell", "comm_info_reply", of_process, bytes(frame.header))
    comms = world.content(request, "comm_info_reply")["comms"]
    assert comms == {"other": {"target_name": "x"}, panel: {"target_name": "jupyter.widget"}}
    world.release()
    assert panel in world.content(world.ask("comm_info_request", content), "comm_info_reply")["comms"]
    other = world.ask("comm_info_request", {"target_name": "something"})
    assert panel not in world.content(other, "comm_info_reply")["comms"]


def test_its_state_is_told_to_who_asks_under_that_request(world: World) -> None:
    panel = monitor(world)
    request = world.ask("comm_msg", {"comm_id": panel, "data": {"method": "request_state"}})
    (told,) = [said for said in world.said if said.type == "comm_msg" and said.parent == request]
    assert told.content["data"]["method"] == "update"
    assert "_esm" in told.content["data"]["state"]


def test_all_states_at_once_from_the_process_hold_the_panels(world: World) -> None:
    panel = monitor(world)
    world.grant()
    world.ask("comm_open", {"comm_id": "control", "target_name": "jupyter.widget.control", "data": {}})
    world.work()
    data = {"method": "update_states", "states": {"slider": {"state": {}}}, "buffer_paths": []}
    world.emit("iopub", "comm_msg", {"comm_id": "control", "data": data}, b"{}")
    states = world.said[-1].content["data"]["states"]
    assert set(states) == {"slider", panel}
    assert states[panel]["model_module"] == "anywidget"
    world.emit("iopub", "comm_msg", {"comm_id": "slider", "data": data}, b"{}")
    assert set(world.said[-1].content["data"]["states"]) == {"slider"}, "that was another comm"


def test_all_states_at_once_without_a_process_are_the_panels(world: World) -> None:
    panel = monitor(world)
    opened = world.ask("comm_open", {"comm_id": "control", "target_name": "jupyter.widget.control", "data": {}})
    assert world.types(opened) == ["busy", "idle"], "no comm_close: it is answered"
    asked = world.ask("comm_msg", {"comm_id": "control", "data": {"method": "request_states"}})
    (told,) = [said for said in world.said if said.type == "comm_msg" and said.parent == asked]
    assert set(told.content["data"]["states"]) == {panel}
    json.dumps(told.content)
    closed = world.ask("comm_close", {"comm_id": "control", "data": {}})
    assert world.types(closed) == ["busy", "idle"]
