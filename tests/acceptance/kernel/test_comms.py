"""Comms, which widgets are made of: with buffers, both ways, and across a release."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .at_broker import wait_for_state
from .front_end import GPU_KERNEL, FrontEnd, Message

pytestmark = pytest.mark.xdist_group("kernel-comms")

ECHO = """
from comm import get_comm_manager
received = []
def opened(comm, message):
    def heard(message):
        received.append(bytes(message['buffers'][0]) if message['buffers'] else message['content']['data'])
        comm.send({'echo': message['content']['data']}, buffers=[bytes(b)[::-1] for b in message['buffers']])
    comm.on_msg(heard)
    comm.send({'hello': message['content']['data']})
get_comm_manager().register_target('echo', opened)
"""
BYTES = bytes(range(256)) * 5000  # more than a mebibyte


@pytest.fixture(scope="module")
def echo(kernel: FrontEnd) -> FrontEnd:
    assert kernel.run(ECHO).ok
    return kernel


@pytest.fixture
def suspended(environment: dict[str, str], tmp_path: Path) -> Iterator[FrontEnd]:
    """A GPU kernel with one comm, ``one``, whose GPU has gone back."""
    with FrontEnd(GPU_KERNEL, environment, tmp_path) as kernel:
        kernel.run(ECHO)
        opened(kernel, "one")
        assert kernel.run("%gpu release").ok
        wait_for_state(kernel, "suspended")
        yield kernel


def opened(kernel: FrontEnd, comm_id: str, target: str = "echo") -> list[Message]:
    content = {"comm_id": comm_id, "target_name": target, "data": {"from": "here"}}
    return kernel.output(kernel.send("comm_open", content))


def told(kernel: FrontEnd, comm_id: str, data: Message, buffers: list[bytes] | None = None) -> list[Message]:
    return kernel.output(kernel.send("comm_msg", {"comm_id": comm_id, "data": data}, buffers=buffers))


def of(messages: list[Message], msg_type: str) -> list[Message]:
    return [message for message in messages if message["msg_type"] == msg_type]


def test_a_front_end_opens_a_comm_and_bytes_go_both_ways(echo: FrontEnd):
    (hello,) = of(opened(echo, "bytes"), "comm_msg")
    assert hello["content"] == {"comm_id": "bytes", "data": {"hello": {"from": "here"}}}
    (answer,) = of(told(echo, "bytes", {"n": 1}, [b"\0\1\2", BYTES]), "comm_msg")
    assert answer["content"]["data"] == {"echo": {"n": 1}}
    assert [bytes(buffer) for buffer in answer["buffers"]] == [b"\2\1\0", BYTES[::-1]]


def test_the_kernel_opens_a_comm_with_bytes(echo: FrontEnd):
    cell = echo.run(
        "from comm import create_comm\nown = create_comm(target_name='theirs', data={'a': 1}, buffers=[b'xyz'])"
    )
    (open_message,) = cell.of("comm_open")
    assert open_message["content"]["target_name"] == "theirs"
    assert [bytes(buffer) for buffer in open_message["buffers"]] == [b"xyz"]
    comms = echo.ask("comm_info_request", {"target_name": "theirs"})["content"]["comms"]
    assert comms == {open_message["content"]["comm_id"]: {"target_name": "theirs"}}
    assert len(echo.run("own.close()").of("comm_close")) == 1
    assert echo.ask("comm_info_request", {"target_name": "theirs"})["content"]["comms"] == {}


def test_a_target_that_nobody_knows_is_closed(echo: FrontEnd):
    (closed,) = of(opened(echo, "odd", "unknown"), "comm_close")
    assert closed["content"]["comm_id"] == "odd"


def test_a_comm_is_answered_between_cells_that_wait_in_line(echo: FrontEnd):
    """In the order sent, as on one shell channel."""
    opened(echo, "order")
    first = echo.start("import time; time.sleep(0.3); before = len(received)")
    message_id = echo.send("comm_msg", {"comm_id": "order", "data": {"in": "between"}})
    last = echo.start("len(received) - before")
    echo.finish(first)
    assert of(echo.output(message_id), "comm_msg")
    assert echo.finish(last).result == "1"


# released kernels -------------------------------------------------------------------------------------------------


def test_what_a_released_kernel_is_told_is_held_and_arrives_with_the_next_cell(suspended: FrontEnd):
    for n in range(3):
        told_of = told(suspended, "one", {"n": n})
        assert [m["content"]["execution_state"] for m in told_of] == ["busy", "idle"]
    told(suspended, "one", {"n": 3}, [b"bytes"])
    echoes = suspended.output_of_all(suspended.start("[message for message in received]"))
    (shown,) = [m for m in echoes if m["msg_type"] == "execute_result"]
    assert shown["content"]["data"]["text/plain"] == "[{'n': 0}, {'n': 1}, {'n': 2}, b'bytes']"
    answers = [m["content"]["data"]["echo"]["n"] for m in echoes if m["msg_type"] == "comm_msg"]
    assert answers == [0, 1, 2, 3]


def test_a_released_kernel_knows_its_comms_and_opens_no_others(suspended: FrontEnd):
    comms = suspended.ask("comm_info_request", {})["content"]["comms"]
    assert comms == {"one": {"target_name": "echo"}}
    (closed,) = of(opened(suspended, "two"), "comm_close")
    assert closed["content"]["comm_id"] == "two"


def test_updates_of_a_widget_are_held_as_one(suspended: FrontEnd):
    for n in range(50):
        told(suspended, "one", {"method": "update", "state": {"value": n, f"only_{n % 2}": n}, "buffer_paths": []})
    shown = suspended.run("print(received)").stdout
    assert ast.literal_eval(shown) == [
        {"method": "update", "state": {"value": 49, "only_0": 48, "only_1": 49}, "buffer_paths": []}
    ]
