"""When a kernel's panel comes by itself, and where it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from perijove.magics.cell_panel import CellPanel
from perijove.wire.commands.tables import Table
from perijove.wire.errors import UsageError


class Panel:
    """Notes what is done to it; a front-end has said that it can draw it if ``is_drawn``."""

    def __init__(self, *, is_drawn: bool = True) -> None:
        self.is_drawn = is_drawn
        self.opened = 0
        self.shown: list[str] = []
        self.settled: list[str] = []
        self.beside: list[tuple[str, bool]] = []

    def open(self) -> None:
        self.opened += 1

    def show(self) -> str:
        self.shown.append(f"display {len(self.shown)}")
        return self.shown[-1]

    def settle(self, display_id: str) -> None:
        self.settled.append(display_id)

    def show_beside(self, shown: dict[str, Any], *, at_once: bool) -> None:
        self.beside.append((shown["text/plain"], at_once))


class World:
    def __init__(self, panel: Panel, *, terminal: bool = False, names: tuple[str, ...] = ()) -> None:
        self.now = 0.0
        self.panel = panel
        self.outputs = SimpleNamespace(kernel=None if terminal else object(), published=0, cleared=0)
        shell: Any = SimpleNamespace(user_ns=dict.fromkeys(names))
        outputs: Any = self.outputs
        made: Any = panel
        self.cell = CellPanel(shell, outputs, lambda: made, lambda: self.now)

    def runs_for(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            self.cell.cell_goes_on()


def test_a_quick_cell_has_none_and_a_long_one_has_one() -> None:
    world = World(Panel())
    world.cell.cell_begins(wanted=True)
    world.cell.cell_runs()
    world.runs_for(0.75)
    assert not world.panel.opened, "nothing is made for it"
    world.runs_for(10)
    assert world.panel.shown == ["display 0"]
    world.cell.cell_ends()
    assert world.panel.settled == ["display 0"]
    assert world.outputs.published == 1


def test_waiting_for_a_gpu_shows_it_later_and_does_not_count_for_the_cell() -> None:
    world = World(Panel())
    world.cell.cell_begins(wanted=True)
    world.runs_for(2.5)
    assert not world.panel.shown
    world.cell.cell_runs()
    world.runs_for(0.75)
    assert not world.panel.shown
    world.cell.cell_ends()
    world.cell.cell_begins(wanted=True)
    world.runs_for(3.25)
    assert len(world.panel.shown) == 1


def test_it_is_made_but_not_shown_where_nobody_says_that_it_can_be_drawn() -> None:
    world = World(Panel(is_drawn=False))
    world.cell.cell_begins(wanted=True)
    world.cell.cell_runs()
    world.runs_for(5)
    assert world.panel.opened
    assert not world.panel.shown
    world.panel.is_drawn = True
    world.runs_for(0.25)
    assert len(world.panel.shown) == 1


def test_vs_code_loads_widgets_only_when_one_is_shown() -> None:
    world = World(Panel(is_drawn=False), names=("__vsc_ipynb_file__",))
    world.cell.cell_begins(wanted=True)
    world.cell.cell_runs()
    world.runs_for(2)
    assert len(world.panel.shown) == 1


@pytest.mark.parametrize("case", ["not wanted", "terminal", "switched off"])
def test_where_it_never_comes_by_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Panel(), terminal=case == "terminal")
    if case == "switched off":
        monkeypatch.setenv("PERIJOVE_PANEL", "0")
    world.cell.cell_begins(wanted=case != "not wanted")
    world.cell.cell_runs()
    world.runs_for(60)
    world.cell.cell_ends()
    assert not world.panel.opened
    assert not world.panel.settled


def test_a_loop_that_clears_its_output_has_it_again_every_two_seconds() -> None:
    world = World(Panel())
    world.cell.cell_begins(wanted=True)
    world.cell.cell_runs()
    for _ in range(40):  # ten seconds
        world.outputs.cleared += 1
        world.runs_for(0.25)
    assert len(world.panel.shown) == 5
    world.outputs.cleared += 1
    world.cell.cell_ends()
    assert not world.panel.settled, "it stands nowhere any more"


def test_on_request_it_is_shown_at_once_but_not_in_a_terminal() -> None:
    world = World(Panel(is_drawn=False))
    world.cell.show()
    assert len(world.panel.shown) == 1
    with pytest.raises(UsageError, match="a terminal has no widgets"):
        World(Panel(), terminal=True).cell.show()


def test_a_status_has_it_beside_it_wherever_it_is_shown() -> None:
    world = World(Panel(is_drawn=False))
    status = world.cell.beside(Table(["kernel"], [["H100"]]))
    assert repr(status) == "kernel\nH100"
    assert not world.panel.beside, "assigned to a name it is a table"
    status._ipython_display_()
    world.panel.is_drawn = True
    status._ipython_display_()
    assert world.panel.beside == [("kernel\nH100", False), ("kernel\nH100", True)]
    assert world.outputs.published == 2
