"""``jupyter console`` on a GPU kernel, in a terminal; with Jupyter's own kernel beside it to know what is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..observing import held_gpus, wait_until
from ..terminal import CONTROL_C, CONTROL_D, ENTER, TAB, Terminal
from .front_end import GPU_KERNEL


def console(kernel_name: str, environment: dict[str, str], directory: Path) -> Terminal:
    program = ("jupyter_console", "--kernel", kernel_name, "--no-confirm-exit")
    return Terminal(environment, directory, program=program)


@pytest.fixture(params=["python3", GPU_KERNEL])
def terminal(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    with console(request.param, environment, tmp_path) as terminal:
        yield terminal


def test_a_session(terminal: Terminal):
    shown = terminal.run(1, "x = 6 * 7; print('printed'); x")
    assert "printed" in shown
    assert "Out[1]: 42" in shown
    assert "Out[2]: (42, 42)" in terminal.run(2, "_, Out[1]")
    failed = terminal.run(3, "1 / 0")
    assert "ZeroDivisionError" in failed
    assert "division by zero" in failed

    terminal.type(4, "name = input('your ' + 'name? ')")
    terminal.wait_for("your name?")
    terminal.press("ada" + ENTER)
    terminal.result(4)
    assert "Out[5]: 'ada'" in terminal.run(5, "name")


def test_a_block_goes_on_until_it_is_complete(terminal: Terminal):
    """Which the console asks the kernel after each line."""
    terminal.wait_for("In [1]:")
    terminal.press("for i in range(2):" + ENTER)
    terminal.wait_for("...:")
    terminal.press("print('line', i)" + ENTER + ENTER)
    shown = terminal.result(1)
    assert "line 0" in shown
    assert "line 1" in shown


def test_completion(terminal: Terminal):
    terminal.run(1, "a_long_variable_name = 7")
    terminal.press("a_long_va")
    terminal.wait_for("In [2]: a_long_va")
    for presses_left in (2, 1, 0):  # the console takes the next reply for the answer, of whatever it is
        terminal.press(TAB)
        if terminal.shows("In [2]: a_long_variable_name", within_s=60 if not presses_left else 6):
            break
    terminal.wait_for("In [2]: a_long_variable_name")


def test_control_c_interrupts_the_cell(terminal: Terminal):
    terminal.type(1, "import time; print('beg' + 'un'); time.sleep(60)")
    terminal.wait_for("begun")
    terminal.press(CONTROL_C)
    assert "KeyboardInterrupt" in terminal.result(1)
    assert "Out[2]: 2" in terminal.run(2, "1 + 1")


def test_leaving_gives_the_gpu_back(own_environment: dict[str, str], tmp_path: Path):
    with console(GPU_KERNEL, own_environment, tmp_path) as terminal:
        terminal.run(1, "x = 1")
        assert held_gpus(own_environment) == 1
        terminal.wait_for("In [2]:")
        terminal.press(CONTROL_D)
        assert terminal.wait_for_end() == 0
        wait_until(lambda: held_gpus(own_environment) == 0, within_s=5)
