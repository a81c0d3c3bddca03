"""``input()`` and ``getpass()``: asked of the front-end that ran the cell, if it may be asked."""

from __future__ import annotations

from queue import Empty

import pytest

from .front_end import FrontEnd

pytestmark = pytest.mark.xdist_group("kernel-asking")


def test_input_is_asked_and_answered(kernel: FrontEnd):
    message_id = kernel.start("name = input('name? ')\nprint('hello', name)", allow_stdin=True)
    assert kernel.question()["content"] == {"prompt": "name? ", "password": False}
    kernel.client.input("Ada")
    assert kernel.finish(message_id).stdout == "hello Ada\n"


def test_questions_come_one_after_the_other_with_output_between(kernel: FrontEnd):
    message_id = kernel.start("for n in range(3): print('got', input(f'{n}? '))", allow_stdin=True)
    for n in range(3):
        assert kernel.question()["content"]["prompt"] == f"{n}? "
        kernel.client.input(str(n * n))
    assert kernel.finish(message_id).stdout == "got 0\ngot 1\ngot 4\n"


def test_getpass_says_that_it_is_a_password(kernel: FrontEnd):
    message_id = kernel.start("import getpass; len(getpass.getpass('secret: '))", allow_stdin=True)
    assert kernel.question()["content"] == {"prompt": "secret: ", "password": True}
    kernel.client.input("abc")
    cell = kernel.finish(message_id)
    assert cell.result == "3"
    assert "abc" not in cell.stdout


def test_who_does_not_allow_it_is_not_asked(kernel: FrontEnd):
    cell = kernel.run("input()", allow_stdin=False)
    assert cell.error.startswith("StdinNotImplementedError")
    with pytest.raises(Empty):
        kernel.client.get_stdin_msg(timeout=0.3)


def test_only_the_client_that_ran_the_cell_is_asked(kernel: FrontEnd):
    other = kernel.connect()
    try:
        message_id = kernel.start("input('whom? ')", allow_stdin=True)
        question = kernel.question()
        assert question["parent_header"]["msg_id"] == message_id
        with pytest.raises(Empty):
            other.get_stdin_msg(timeout=0.3)
        kernel.client.input("me")
        assert kernel.finish(message_id).result == "'me'"
    finally:
        other.stop_channels()


def test_debug_is_a_conversation(kernel: FrontEnd):
    kernel.run("def inner():\n    secret = 42\n    raise ValueError('made')")
    assert kernel.run("inner()").error == "ValueError: made"
    message_id = kernel.start("%debug", allow_stdin=True)
    for said in ("p secret", "up", "q"):
        assert kernel.question()["content"]["prompt"].startswith("ipdb>")
        kernel.client.input(said)
    cell = kernel.finish(message_id)
    assert cell.ok
    assert "42\n" in cell.stdout
    assert kernel.run("1").ok
