"""Tab behind ``%%gpu`` and ``%gpu``, through IPython's own completer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from perijove.magics import load, unload
from traitlets.config import Config


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    load(shell)
    yield shell
    unload(shell)


def offered(shell: InteractiveShell, typed: str) -> list[str]:
    with provisionalcompleter():
        return [typed[: found.start] + found.text for found in shell.Completer.completions(typed, len(typed))]


def test_models_and_options_behind_the_cell_magic(shell: InteractiveShell) -> None:
    found = offered(shell, "%%gpu ")
    assert found[:2] == ["%%gpu H100", "%%gpu H200"]
    assert {"%%gpu any", "%%gpu --out"} <= set(found)
    assert "%%gpu and" not in found


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("%%gpu h2", ["%%gpu H200"]),
        ("%%gpu H100|A100-", ["%%gpu H100|A100-80GB"]),
        ("%%gpu H100 --k", ["%%gpu H100 --keep", "%%gpu H100 --kernel"]),
        ("%gpu rel", ["%gpu release"]),
        ("x = 1\n%gpu rel", ["x = 1\n%gpu release"]),
        ("%gpu attach T", ["%gpu attach T4"]),
        ("%gpu bill --a", ["%gpu bill --all"]),
        ("%gpu bill --by us", ["%gpu bill --by user"]),
    ],
)
def test_what_was_begun(shell: InteractiveShell, typed: str, completed: list[str]) -> None:
    assert offered(shell, typed) == completed


def test_python_in_the_cell_is_python(shell: InteractiveShell) -> None:
    assert "%%gpu H100\nprint" in offered(shell, "%%gpu H100\nprin")
    assert "gpus" not in "".join(offered(shell, "gpu"))
