"""An interrupt hits the cells sent before it, and no other (DESIGN.md §4)."""

from __future__ import annotations

import pytest
from perijove.remote_agent.interrupts import Interrupts, shell_seq_of

CONTROL, SHELL, OTHER = b"c" * 8, b"s" * 8, b"o" * 8


@pytest.fixture
def interrupts() -> Interrupts:
    interrupts = Interrupts()
    interrupts.pair(CONTROL, SHELL)
    return interrupts


def test_it_hits_the_cell_that_was_sent_before_it(interrupts: Interrupts) -> None:
    assert interrupts.arrived(CONTROL, 3, (SHELL, 3))


def test_it_misses_the_cell_that_was_sent_after_it(interrupts: Interrupts) -> None:
    assert not interrupts.arrived(CONTROL, 3, (SHELL, 4))


def test_cells_that_it_overtook_never_start(interrupts: Interrupts) -> None:
    interrupts.arrived(CONTROL, 3, None)
    assert interrupts.is_cancelled(SHELL, 2)
    assert interrupts.is_cancelled(SHELL, 3)
    assert not interrupts.is_cancelled(SHELL, 4)
    assert not interrupts.is_cancelled(OTHER, 1)


def test_an_old_interrupt_takes_nothing_back(interrupts: Interrupts) -> None:
    interrupts.arrived(CONTROL, 5, None)
    interrupts.arrived(CONTROL, 3, None)
    assert interrupts.is_cancelled(SHELL, 5)


def test_a_client_that_numbers_nothing_means_whatever_runs(interrupts: Interrupts) -> None:
    assert interrupts.arrived(CONTROL, None, (SHELL, 9))
    assert interrupts.arrived(OTHER, 1, (SHELL, 9))
    assert not interrupts.is_cancelled(SHELL, 1)


@pytest.mark.parametrize(
    ("metadata", "seq"),
    [
        (b'{"perijove": {"shell_seq": 4}}', 4),
        (b"{}", None),
        (b'{"perijove": null, "x": "\\"shell_seq\\""}', None),
        (b'{"shell_seq": 4}', None),
    ],
)
def test_the_number_is_read_from_the_metadata(metadata: bytes, seq: int | None) -> None:
    assert shell_seq_of(metadata) == seq
