"""What is no cell: answered by a released kernel itself, passed to the process of an attached one."""

from __future__ import annotations

import pytest
from perijove.wire.front.messages import document, type_of
from perijove.wire.front.routes import ROUTES, Route, route_of

from .world import World


@pytest.fixture
def world() -> World:
    return World()


RELEASED = {
    "kernel_info_request": {"status": "ok"},
    "complete_request": {"matches": []},
    "inspect_request": {"found": False},
    "history_request": {"history": []},
    "is_complete_request": {"status": "complete"},
    "comm_info_request": {"comms": {}},
}


@pytest.mark.parametrize("msg_type", RELEASED)
def test_a_released_kernel_answers_for_itself(world: World, msg_type: str) -> None:
    request = world.ask(msg_type, {"code": "x", "cursor_pos": 1})
    reply = msg_type.replace("_request", "_reply")
    assert world.types(request) == ["busy", reply, "idle"]
    assert RELEASED[msg_type].items() <= world.content(request, reply).items()
    assert world.asked == 0


@pytest.mark.parametrize(("channel", "msg_type"), [key for key, route in ROUTES.items() if route is not Route.QUESTION])
def test_every_request_of_the_protocol_is_answered_while_there_is_no_process(
    world: World, channel: str, msg_type: str
) -> None:
    request = world.ask(msg_type, {"code": "%gpu", "silent": False}, channel=channel)
    if world.commands:
        world.answer_commands()
    types = world.types(request)
    assert types[0] == "busy"
    assert types[-1] == "idle"
    if msg_type.endswith("_request"):
        assert msg_type.replace("_request", "_reply") in types


def test_an_unknown_request_is_the_processs_to_answer(world: World) -> None:
    assert route_of("shell", "new_thing_request") is Route.PROCESS
    request = world.ask("new_thing_request")
    assert world.content(request, "new_thing_reply")["status"] == "error"
    process = world.grant()
    world.ask("new_thing_request")
    assert [type_of(frame.header) for frame in process.given] == ["new_thing_request"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("1", "complete"),
        ("for i in x:", "incomplete"),
        ("for i in x:\n    print(i)", "incomplete"),
        ("for i in x:\n    print(i)\n\n", "complete"),
        ("await x", "complete"),
        ("a = (", "incomplete"),
        ("a = )", "invalid"),
        ("%gpu list", "complete"),
        ("files = !ls", "complete"),
        ("print?", "complete"),
    ],
)
def test_is_complete_without_a_process(world: World, code: str, status: str) -> None:
    request = world.ask("is_complete_request", {"code": code})
    assert world.content(request, "is_complete_reply")["status"] == status


def test_replies_go_to_whoever_asked_and_output_to_all(world: World) -> None:
    world.grant()
    world.run("x", client="lab")
    world.run("y", client="console")
    world.work()
    assert [said.to for said in world.said if said.type == "execute_reply"] == ["lab", "console"]
    assert {said.to for said in world.said if said.channel == "iopub"} == {None}


def test_input_is_asked_of_whoever_runs_the_cell(world: World) -> None:
    world.grant()
    world.run("input()", client="console")
    frame = world.begin()
    world.emit("stdin", "input_request", {"prompt": "?"}, bytes(frame.header))
    (asked,) = [said for said in world.said if said.type == "input_request"]
    assert (asked.to, asked.channel) == ("console", "stdin")
    world.ask("input_reply", {"value": "42"}, channel="stdin", client="console")
    assert world.process is not None
    assert document(world.process.answers[0].content) == {"value": "42"}


def test_kernel_info_during_a_cell_leaves_the_kernel_busy(world: World) -> None:
    cell = world.run("sleep()")
    world.grant()
    world.begin()
    world.ask("kernel_info_request")
    states = [said for said in world.said if said.type == "status"]
    assert states[-1].content["execution_state"] == "busy"
    assert states[-1].parent == cell


def test_shutdown_is_answered_on_both_channels(world: World) -> None:
    request = world.ask("shutdown_request", {"restart": True}, channel="control")
    assert world.types(request) == ["busy", "shutdown_reply", "shutdown_reply", "idle"]
    assert world.shut_down is True


class TestComms:
    @pytest.fixture(autouse=True)
    def widget(self, world: World) -> None:
        world.run("slider")
        world.grant()
        frame = world.begin()
        world.emit(
            "iopub", "comm_open", {"comm_id": "c", "target_name": "jupyter.widget", "data": {}}, bytes(frame.header)
        )
        world.finish(frame)

    def move(self, world: World, **state: int) -> str:
        content = {"comm_id": "c", "data": {"method": "update", "state": state, "buffer_paths": []}}
        return world.ask("comm_msg", content)

    def test_are_held_while_released_and_arrive_as_one_state(self, world: World) -> None:
        world.release()
        moved = self.move(world, value=1)
        self.move(world, value=2)
        self.move(world, max=9)
        assert world.types(moved) == ["busy", "idle"]
        assert world.asked == 0
        process = world.grant()
        (frame,) = process.given
        assert document(frame.content)["data"]["state"] == {"value": 2, "max": 9}

    def test_come_before_the_cell_that_attaches(self, world: World) -> None:
        world.release()
        self.move(world, value=3)
        world.run("slider.value")
        process = world.grant()
        assert [type_of(frame.header) for frame in process.given] == ["comm_msg", "execute_request"]

    def test_are_listed_while_released(self, world: World) -> None:
        world.release()
        request = world.ask("comm_info_request", {"target_name": "jupyter.widget"})
        assert world.content(request, "comm_info_reply")["comms"] == {"c": {"target_name": "jupyter.widget"}}

    def test_of_a_process_that_ended_are_closed(self, world: World) -> None:
        world.kill()
        moved = self.move(world, value=1)
        assert world.types(moved) == ["busy", "comm_close", "idle"]
        opened = world.ask("comm_open", {"comm_id": "d", "target_name": "x"})
        assert world.types(opened) == ["busy", "comm_close", "idle"]

    def test_with_buffers_stay_apart(self, world: World) -> None:
        world.release()
        content = {"comm_id": "c", "data": {"method": "update", "state": {}, "buffer_paths": [["v"]]}}
        world.ask("comm_msg", content, buffers=(b"one",))
        world.ask("comm_msg", content, buffers=(b"two",))
        assert [frame.buffers for frame in world.grant().given] == [(b"one",), (b"two",)]


class TestSubshells:
    def make(self, world: World) -> str:
        request = world.ask("create_subshell_request", channel="control")
        return str(world.content(request, "create_subshell_reply")["subshell_id"])

    def test_are_made_in_the_process_when_they_are_needed(self, world: World) -> None:
        ours = self.make(world)
        process = world.grant()
        assert not process.control
        world.ask("comm_info_request", subshell=ours)
        world.ask("comm_info_request", subshell=ours)
        assert [type_of(frame.header) for frame in process.control] == ["create_subshell_request"]
        assert not process.given
        frame = process.control.pop()
        world.emit("control", "create_subshell_reply", {"status": "ok", "subshell_id": "theirs"}, bytes(frame.header))
        assert [document(frame.header)["subshell_id"] for frame in process.given] == ["theirs", "theirs"]

    def test_are_made_again_in_the_next_process(self, world: World) -> None:
        ours = self.make(world)
        world.grant()
        world.ask("comm_info_request", subshell=ours)
        world.work()
        world.kill()
        process = world.grant()
        request = world.ask("comm_info_request", subshell=ours)
        world.work()
        assert world.types(request) == ["busy", "comm_info_reply", "idle"]
        assert not process.control

    def test_are_listed_and_deleted_without_a_process(self, world: World) -> None:
        ours = self.make(world)
        request = world.ask("list_subshell_request", channel="control")
        assert world.content(request, "list_subshell_reply")["subshell_id"] == [ours]
        world.ask("delete_subshell_request", {"subshell_id": ours}, channel="control")
        again = world.ask("delete_subshell_request", {"subshell_id": ours}, channel="control")
        assert world.content(again, "delete_subshell_reply")["status"] == "error"

    def test_run_cells_beside_the_main_shell(self, world: World) -> None:
        ours = self.make(world)
        process = world.grant()
        world.run("long()")
        world.begin()
        world.run("short()", subshell=ours)
        frame = process.control.pop()
        world.emit("control", "create_subshell_reply", {"status": "ok", "subshell_id": "theirs"}, bytes(frame.header))
        assert len(process.given) == 1
