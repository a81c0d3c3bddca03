"""Xids: which put a GPU in doubt, which are a program's own, and what is told of them (docs/operators.md, "Health")."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from perijove.remote_agent.gpus import xid as catalogue
from perijove.remote_agent.gpus.xid import Xid, XidLog

NOON = datetime(2026, 11, 25, 12, 3, tzinfo=UTC)
PAGE = Path(__file__).parents[3] / "docs" / "operators.md"


def report(number: int, *, minutes: int = 0, instance: int | None = None) -> Xid:
    return Xid("GPU-1", number, NOON + timedelta(minutes=minutes), instance)


def log_of(*reports: Xid) -> XidLog:
    log = XidLog()
    for one in reports:
        log.note(one)
    return log


@pytest.mark.parametrize("number", [48, 62, 63, 64, 74, 79, 92, 94, 95, 109, 119, 120, 140])
def test_what_puts_a_gpu_in_doubt(number: int) -> None:
    assert log_of(report(number)).illness.startswith(f"Xid {number}: ")


@pytest.mark.parametrize("number", [13, 31, 43, 45, 154, 9999])
def test_what_does_not(number: int) -> None:
    log = log_of(report(number))
    assert log.illness == ""
    assert log.counts() == {number: 1}


def test_the_reason_is_the_first_one_as_others_follow_from_it() -> None:
    log = log_of(report(31), report(79), report(45, minutes=1), report(48, minutes=2))
    assert log.illness == "Xid 79: the GPU has fallen off the bus (12:03 UTC)"
    assert log.latest() == "Xid 48: a memory error that could not be corrected (12:05 UTC)"
    assert log.counts() == {31: 1, 45: 1, 48: 1, 79: 1}


def test_an_unknown_number_is_told_without_a_meaning() -> None:
    assert str(report(9999)) == "Xid 9999 (12:03 UTC)"


def test_a_reset_ends_the_doubt_and_no_count() -> None:
    log = log_of(report(79), report(79))
    log.was_reset()
    assert log.illness == ""
    assert log.counts() == {79: 2}
    log.note(report(48, minutes=9))
    assert log.illness.startswith("Xid 48")


def test_an_instance_is_told_its_own_and_what_names_none() -> None:
    log = log_of(report(31, instance=1), report(13, minutes=1), report(43, minutes=2, instance=2))
    assert log.counts(1) == {13: 1, 31: 1}
    assert log.counts(2) == {13: 1, 43: 1}
    assert log.counts() == {13: 1, 31: 1, 43: 1}
    assert log.latest(1).startswith("Xid 13")
    assert log.latest(2).startswith("Xid 43")
    assert XidLog().latest(1) == ""


def test_the_page_for_operators_lists_the_same_numbers() -> None:
    page = PAGE.read_text("utf-8")
    (devices,) = re.findall(r"wants it reset or repaired: ([\d, ]+)\.", page)
    (programs,) = re.findall(r"of a program's own making \(([\d, ]+)\)", page)
    assert [int(number) for number in devices.split(", ")] == sorted(catalogue._OF_DEVICES)
    assert [int(number) for number in programs.split(", ")] == sorted(catalogue._OF_PROGRAMS)
    alerts = set(re.findall(r'xid!~"([\d|]+)"', page))
    assert alerts == {"|".join(map(str, sorted(catalogue._OF_PROGRAMS)))}
