"""Cells: what has a GPU attached, what waits, what is answered without one, and how each of them ends."""

from __future__ import annotations

import pytest
from perijove.wire.errors import BrokerUnreachable, NoSuchGpu, UsageError
from perijove.wire.front.answers import CommandAnswer
from perijove.wire.front.messages import document

from .world import SESSION, World

ANSWERED = ["busy", "execute_input", "execute_reply", "idle"]


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_real_cell_attaches_and_reads_like_a_local_one(world: World) -> None:
    cell = world.run("x = 1")
    assert world.asked == 1
    world.grant()
    world.work()
    assert world.types(cell) == ANSWERED
    assert world.content(cell, "execute_reply")["execution_count"] == 1
    assert {said.session for said in world.said} == {SESSION}


def test_a_cell_on_an_attached_kernel_goes_to_the_process_as_it_is(world: World) -> None:
    world.grant()
    world.run("x")
    assert world.process is not None
    (frame,) = world.process.given
    assert document(frame.metadata) == {}
    assert world.asked == 0


def test_cells_that_came_meanwhile_run_in_their_order(world: World) -> None:
    cells = [world.run(f"cell {number}") for number in range(3)]
    assert world.asked == 1
    process = world.grant()
    world.work()
    assert process.ran == ["cell 0", "cell 1", "cell 2"]
    assert [world.content(cell, "execute_reply")["execution_count"] for cell in cells] == [1, 2, 3]


@pytest.mark.parametrize("code", ["", "  \n", "# nothing\n\n# at all"])
def test_a_cell_with_nothing_in_it_attaches_nothing(world: World, code: str) -> None:
    cell = world.run(code)
    assert world.asked == 0
    assert world.types(cell)[-2:] == ["execute_reply", "idle"]
    assert world.content(cell, "execute_reply")["status"] == "ok"


def test_hidden_cells_attach_nothing_and_run_in_the_new_process_before_the_first_real_one(world: World) -> None:
    hidden = world.run("%matplotlib inline", store_history=False)
    world.run("import os", silent=True)
    world.run("%matplotlib inline", store_history=False)
    assert world.asked == 0
    assert world.types(hidden) == ["busy", "execute_reply", "idle"]
    world.run("plot()")
    process = world.grant()
    seen = len(world.said)
    world.work()
    assert process.ran == ["import os", "%matplotlib inline", "plot()"]
    assert {said.parent for said in world.said[seen:]} == {world.said[-1].parent}  # nothing of the hidden ones is seen
    world.kill()
    world.run("again()")
    process = world.grant()
    world.work()
    assert process.ran == ["import os", "%matplotlib inline", "again()"]


def test_a_hidden_cell_that_shows_something_later_is_not_kept(world: World) -> None:
    world.run("threading.Thread(target=lambda: handle.update_display(1)).start()", store_history=False)
    world.run("x")
    assert world.grant().given[0].content.find(b"update_display") == -1


def test_hidden_cells_after_the_first_real_one_are_not_kept(world: World) -> None:
    world.run("x")
    world.grant()
    world.work()
    world.release()
    world.run("%who_ls", store_history=False)
    world.run("y")
    process = world.grant()
    world.work()
    assert process.ran == ["x", "y"]


def test_no_gpu_is_an_error_of_the_cell_and_the_kernel_lives_on(world: World) -> None:
    first, second = world.run("x"), world.run("y")
    world.refuse(NoSuchGpu("there is no H100 here"))
    assert world.types(first) == ["busy", "execute_input", "error", "execute_reply", "idle"]
    assert world.content(first, "error")["ename"] == "NoSuchGpu"
    assert world.content(second, "execute_reply")["status"] == "aborted"
    assert world.front.execution_state == "idle"
    third = world.run("z")
    assert world.asked == 1
    world.grant()
    world.work()
    assert world.content(third, "execute_reply")["execution_count"] == 2


def test_without_stop_on_error_the_next_cell_tries_for_itself(world: World) -> None:
    world.run("x", stop_on_error=False)
    second = world.run("y")
    world.refuse(BrokerUnreachable("nobody answers"))
    assert world.asked == 1
    world.grant()
    world.work()
    assert world.content(second, "execute_reply")["status"] == "ok"


def test_waiting_is_said_after_a_second_updated_and_cleared(world: World) -> None:
    cell = world.run("x")
    world.queue()
    world.pass_time(0.9)
    assert world.types(cell) == ["busy"]
    world.pass_time(0.2)
    shown = world.content(cell, "display_data")
    assert shown["data"]["text/plain"] == "waiting for H100: 2nd in line"
    world.state = world.state.STARTING
    world.tell()
    updated = world.content(cell, "update_display_data")
    assert updated["data"]["text/plain"] == "attaching H100 (simulated) on host-a…"
    assert updated["transient"] == shown["transient"]
    world.grant()
    world.work()
    assert world.types(cell)[3:] == ["clear_output", "execute_input", "execute_reply", "idle"]


def test_an_interrupt_ends_the_waiting(world: World) -> None:
    first, second = world.run("x"), world.run("y")
    interrupt = world.ask("interrupt_request", channel="control")
    assert world.cancelled == 1
    assert world.content(first, "error")["ename"] == "AttachCancelled"
    assert world.content(second, "execute_reply")["status"] == "aborted"
    assert world.content(interrupt, "interrupt_reply") == {"status": "ok"}
    assert world.interrupts == []


def test_an_interrupt_of_a_running_cell_is_answered_at_once_and_passed_on(world: World) -> None:
    world.run("sleep()")
    world.grant()
    running = world.begin()
    interrupt = world.ask("interrupt_request", channel="control")
    assert world.types(interrupt) == ["busy", "interrupt_reply", "idle"]
    (told,) = world.interrupts
    world.emit("control", "interrupt_reply", {"status": "ok"}, bytes(told.header))
    world.emit("iopub", "status", {"execution_state": "idle"}, bytes(told.header))
    assert world.types(interrupt) == ["busy", "interrupt_reply", "idle"]
    world.finish(running, error="KeyboardInterrupt")
    assert world.front.execution_state == "idle"


class TestGpuLines:
    def test_are_run_without_a_gpu_and_shown_like_any_result(self, world: World) -> None:
        cell = world.run("%gpu budget 5\n%gpu list")
        assert world.asked == 0
        assert list(world.commands.values()) == [("budget 5", "list")]
        world.answer_commands(CommandAnswer("set\n"), CommandAnswer("", {"text/plain": "a table"}))
        assert world.types(cell) == ["busy", "execute_input", "stream", "execute_result", "execute_reply", "idle"]
        assert world.content(cell, "execute_result")["execution_count"] == 1

    def test_wait_for_the_cells_before_them_and_hold_up_those_behind(self, world: World) -> None:
        world.run("x")
        world.run("%gpu release")
        last = world.run("y")
        process = world.grant()
        frame = world.begin()
        assert not world.commands
        world.finish(frame)
        assert world.commands
        assert not process.given
        world.release()
        world.answer_commands(CommandAnswer("released\n"))
        assert world.asked == 1
        world.grant()
        world.work()
        assert process.ran == ["x", "y"]
        assert world.content(last, "execute_reply")["execution_count"] == 3

    def test_that_fail_stop_what_is_behind(self, world: World) -> None:
        cell, last = world.run("%gpu nonsense"), world.run("y")
        world.answer_commands(error=UsageError("there is no command 'nonsense'"))
        assert world.content(cell, "error")["evalue"] == "there is no command 'nonsense'"
        assert world.content(last, "execute_reply")["status"] == "aborted"

    def test_can_be_interrupted(self, world: World) -> None:
        world.run("%gpu attach")
        world.ask("interrupt_request", channel="control")
        assert world.cancelled_commands == list(world.commands)

    def test_inside_other_code_are_asked_by_the_process(self, world: World) -> None:
        world.run("x = 1\n%gpu status")
        process = world.grant()
        frame = world.begin()
        world.emit("stdin", "perijove_command_request", {"line": "status"}, bytes(frame.header))
        assert list(world.commands.values()) == [("status",)]
        world.answer_commands(CommandAnswer("", {"text/plain": "attached"}))
        (answer,) = process.answers
        assert document(answer.content) == {"status": "ok", "text": "", "data": {"text/plain": "attached"}}


class TestNumbers:
    def test_go_on_in_the_next_process(self, world: World) -> None:
        world.run("x")
        world.grant()
        world.work()
        world.kill()
        cell = world.run("y")
        world.grant()
        world.work()
        assert world.content(cell, "execute_input")["execution_count"] == 2
        assert world.content(cell, "execute_reply")["execution_count"] == 2

    def test_begin_anew_after_a_restart(self, world: World) -> None:
        world.run("x")
        world.grant()
        world.work()
        world.carry_out(world.front.restarting(world.now_s))
        cell = world.run("y")
        assert not world.asked
        world.process = None
        world.grant()
        world.carry_out(world.front.restarted(world.now_s))
        world.work()
        assert world.content(cell, "execute_reply")["execution_count"] == 1
        assert "display_data" not in world.types(cell)


class TestEndings:
    def test_a_process_that_dies_in_a_cell_is_one_error_and_aborts_the_rest(self, world: World) -> None:
        first, second = world.run("x"), world.run("y")
        world.grant()
        world.begin()
        world.kill("the kernel was killed (out of host memory)")
        assert world.types(first) == ["busy", "execute_input", "error", "execute_reply", "idle"]
        assert world.content(first, "error")["ename"] == "KernelDied"
        assert "out of host memory" in world.content(first, "error")["evalue"]
        assert world.content(second, "execute_reply")["status"] == "aborted"
        cell = world.run("z")
        world.grant()
        world.work()
        assert world.types(cell) == ANSWERED  # the loss has been told
        assert world.content(cell, "execute_reply")["execution_count"] == 2

    def test_a_loss_between_cells_is_told_before_the_next_ones_output(self, world: World) -> None:
        world.run("x")
        world.grant()
        world.work()
        world.release()
        world.kill("host-a went away and with it the variables")
        cell = world.run("y")
        world.grant()
        world.work()
        assert world.types(cell) == ["busy", "display_data", "execute_input", "execute_reply", "idle"]
        assert "host-a went away" in world.content(cell, "display_data")["data"]["text/plain"]

    def test_a_cell_that_crossed_the_release_runs_once_when_the_gpu_is_back(self, world: World) -> None:
        world.run("x")
        process = world.grant()
        world.work()
        cell = world.run("y")
        world.release()
        world.carry_out(world.front.undeliverable(world.now_s))
        assert world.asked == 1
        world.grant()
        world.work()  # the link has kept it
        assert process.ran == ["x", "y"]
        assert world.types(cell) == ANSWERED

    def test_a_cell_that_its_agent_turned_away_has_a_gpu_asked_for(self, world: World) -> None:
        """Nobody says that it was: the kernel is without its GPU, and the cell has not begun."""
        world.run("x")
        process = world.grant()
        world.work()
        cell = world.run("y")
        world.release()
        assert world.asked == 1
        world.grant()
        world.work()
        assert process.ran == ["x", "y"]
        assert world.types(cell) == ANSWERED

    def test_what_is_no_cell_of_the_users_is_not_worth_a_gpu_when_it_crosses_a_release(self, world: World) -> None:
        world.run("x")
        world.grant()
        world.work()
        completion = world.ask("complete_request", {"code": "x", "cursor_pos": 1})
        hidden = world.run("set_up()", store_history=False)
        world.release()
        assert world.asked == 0
        assert world.types(completion) == ["busy", "complete_reply", "idle"]
        assert world.types(hidden) == ["busy", "execute_reply", "idle"]
        world.run("z")
        world.grant()
        world.work()  # the link has kept them; nobody sees what comes of it
        assert len(world.types(completion)) == len(world.types(hidden)) == 3

    def test_a_cell_whose_last_words_are_on_their_way_is_left_to_them(self, world: World) -> None:
        cell = world.run("x")
        world.grant()
        frame = world.begin()
        world.release()
        assert world.asked == 0
        world.finish(frame)
        assert world.types(cell) == ANSWERED

    def test_a_cell_that_a_dead_process_never_began_goes_to_the_next_one(self, world: World) -> None:
        world.run("x")
        world.grant()
        world.work()
        cell = world.run("y")
        world.kill("host-a went away")
        assert world.asked == 1
        process = world.grant()
        world.work()
        assert process.ran == ["y"]
        assert world.types(cell) == ["busy", "display_data", "execute_input", "execute_reply", "idle"]

    def test_no_gpu_for_a_cell_on_its_way_ends_it_for_good(self, world: World) -> None:
        world.run("x")
        world.grant()
        world.work()
        cell = world.run("y")
        world.release()
        world.carry_out(world.front.undeliverable(world.now_s))
        world.refuse(NoSuchGpu("there is none any more"))
        assert world.content(cell, "error")["ename"] == "NoSuchGpu"
        assert len(world.interrupts) == 1  # so that it never runs
        world.grant()
        world.work()
        assert world.types(cell)[-1] == "idle"
        assert world.types(cell).count("execute_reply") == 1

    def test_a_spent_budget_is_the_reason_that_the_cell_shows(self, world: World) -> None:
        cell = world.run("train()")
        world.grant()
        frame = world.begin()
        world.emit("iopub", "perijove_stopping", {"reason": "budget"}, bytes(frame.header))
        world.finish(frame, error="KeyboardInterrupt")
        assert world.content(cell, "error")["ename"] == "BudgetExhausted"
        assert world.content(cell, "execute_reply")["ename"] == "BudgetExhausted"
        assert "%gpu budget" in world.content(cell, "error")["evalue"]


def test_a_link_that_stays_down_during_a_cell_is_told_in_the_cell(world: World) -> None:
    cell = world.run("train()")
    world.grant()
    frame = world.begin()
    world.carry_out(world.front.connection_changed(False, world.now_s))
    world.pass_time(9)
    assert "display_data" not in world.types(cell)
    world.pass_time(2)
    assert "out of reach" in world.content(cell, "display_data")["data"]["text/plain"]
    world.pass_time(20)
    world.carry_out(world.front.connection_changed(True, world.now_s))
    assert "for 31 s" in world.content(cell, "update_display_data")["data"]["text/plain"]
    world.finish(frame)


def test_a_short_silence_of_the_link_is_nobodys_concern(world: World) -> None:
    cell = world.run("train()")
    world.grant()
    frame = world.begin()
    world.carry_out(world.front.connection_changed(False, world.now_s))
    world.pass_time(3)
    world.carry_out(world.front.connection_changed(True, world.now_s))
    world.pass_time(60)
    world.finish(frame)
    assert world.types(cell) == ANSWERED
