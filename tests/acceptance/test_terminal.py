"""``%%gpu`` in plain IPython, in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .notebook_kernel import NotebookKernel
from .observing import held_gpus, wait_until
from .terminal import CONTROL_C, CONTROL_D, ENTER, TAB, Terminal

STATUS = "H100 (simulated) · "


@pytest.fixture
def terminal(perijove_env: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(perijove_env, tmp_path) as terminal:
        terminal.run(1, "%load_ext perijove")
        yield terminal


def lines_of(shown: str) -> list[str]:
    """What a cell has put on the screen, below its own code."""
    return [line for line in shown.splitlines() if line and "...:" not in line][1:]


def test_a_session(terminal: Terminal, perijove_env: dict[str, str]):
    printed, result, status = lines_of(terminal.run(2, "%%gpu H100\nprint('over there')\nx = 6 * 7\nx"))
    assert (printed, result) == ("over there", "Out[2]: 42")
    assert status.startswith(STATUS)
    assert lines_of("\n" + terminal.run(3, "x, _, Out[2]")) == ["Out[3]: (42, 42, 42)"]

    error = lines_of(terminal.run(4, "%%gpu H100\n1 / 0"))
    assert [line for line in error if line.startswith(("Cell In", "ZeroDivisionError:", "---->"))] == [
        "Cell In[4], line 1",
        "----> 1 1 / 0",
        "ZeroDivisionError: division by zero",
    ]
    assert error[-1].startswith(STATUS)
    assert "run_cell_magic" not in "".join(error)

    terminal.type(5, "%%gpu H100\nname = input('your ' + 'name? ')")
    terminal.wait_for("your name?")
    terminal.press("ada" + ENTER)
    assert lines_of(terminal.result(5))[0] == "your name? ada"
    terminal.type(6, "%%gpu H100\nimport getpass\nsecret = getpass.getpass()")
    terminal.wait_for("Password:")
    terminal.press("hidden" + ENTER)
    assert "hidden" not in terminal.result(6)
    assert "Out[7]: ('ada', 'hidden')" in terminal.run(7, "name, secret")
    terminal.type(8, "%%gpu H100\ninput('more ' + 'input? ')")
    terminal.wait_for("more input?")
    terminal.press(CONTROL_D)
    assert "EOFError" in terminal.result(8)

    assert "H100    attached  H100 (simulated)" in terminal.run(9, "%gpu")
    assert "H100 (simulated)  80 GiB" in terminal.run(10, "%gpu list")
    assert "not in the total" in terminal.run(11, "%gpu bill")
    assert "Run this cell on a remote GPU" in terminal.run(12, "%%gpu?")

    assert held_gpus(perijove_env) == 1
    terminal.type(13, "exit")
    assert terminal.wait_for_end() == 0
    wait_until(lambda: held_gpus(perijove_env) == 0, within_s=5)


def test_control_c_stops_the_remote_code(terminal: Terminal):
    terminal.type(2, "%%gpu H100\nimport time\nprint('be' + 'gun')\ntime.sleep(60)")
    terminal.wait_for("begun")
    started = time.monotonic()
    terminal.press(CONTROL_C)
    stopped = lines_of(terminal.result(2))
    assert time.monotonic() - started < 8
    assert stopped[-2].startswith("KeyboardInterrupt")
    assert stopped[-1].startswith(STATUS)
    terminal.type(3, "%%gpu H100\ninput('asks ' + 'you')")
    terminal.wait_for("asks you")
    terminal.press(CONTROL_C)
    assert "KeyboardInterrupt" in terminal.result(3)
    assert lines_of(terminal.run(4, "%%gpu H100\nprint('goes on')"))[0] == "goes on"


def test_tab_offers_gpus_options_and_commands(terminal: Terminal):
    terminal.press("%%gpu " + TAB)
    offered = terminal.wait_for("--no-vars")
    assert {"H100", "any", "cpu", "--timeout"} <= set(offered.split())
    terminal.press(CONTROL_C + CONTROL_C)  # one closes the menu, one clears the line
    terminal.press("%gpu rel" + TAB)
    terminal.wait_for("%gpu release")


def test_a_long_wait_shows_one_line_that_disappears(terminal: Terminal, notebook: NotebookKernel):
    assert notebook.run("%gpu attach H100:2").ok
    terminal.type(2, "%gpu attach H100")
    terminal.wait_for("waiting for H100: ")
    notebook.run("%gpu release")
    (attached,) = lines_of("\n" + terminal.result(2))
    assert attached.startswith("H100 (simulated) attached in ")


def test_a_wait_in_a_narrow_terminal_leaves_nothing(
    perijove_env: dict[str, str], tmp_path: Path, notebook: NotebookKernel
):
    with Terminal(perijove_env, tmp_path, columns=40) as narrow:
        narrow.run(1, "%load_ext perijove")
        assert notebook.run("%gpu attach H100:2").ok
        narrow.type(2, "%gpu attach H100")
        narrow.wait_for("waiting for H100: ")
        notebook.run("%gpu release")
        assert "waiting" not in narrow.result(2)
