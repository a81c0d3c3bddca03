"""Whose death is a kernel's end."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from perijove.kernel.life import Life, Parent


class Processes:
    """What the operating system says; changed by the test."""

    def __init__(self) -> None:
        self.parent = 100
        self.session_leader = False
        self.running = {100, 200}

    def kill(self, pid: int, _: int) -> None:
        if pid not in self.running:
            raise ProcessLookupError(pid)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    there = Processes()
    monkeypatch.setattr(os, "getppid", lambda: there.parent)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid() if there.session_leader else 1)
    monkeypatch.setattr(os, "kill", there.kill)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)
    return there


def test_a_child_ends_with_its_parent(processes: Processes) -> None:
    """As VS Code starts kernels."""
    parent = Parent({})
    assert not parent.is_gone()
    processes.parent = 1
    assert parent.is_gone()


def test_one_in_a_session_of_its_own_ends_with_a_jupyter_server_that_says_so(processes: Processes) -> None:
    processes.session_leader = True
    parent = Parent({"JPY_PARENT_PID": "100"})
    assert not parent.is_gone()
    processes.parent = 1
    assert parent.is_gone()


def test_one_that_was_set_apart_on_purpose_goes_on(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    processes.session_leader = True
    apart = Parent({})
    processes.session_leader = False
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    no_hang_up = Parent({})
    processes.parent = 1
    assert not apart.is_gone()
    assert not no_hang_up.is_gone()


def test_a_wrapper_in_between_does_not_keep_it_alive(processes: Processes) -> None:
    parent = Parent({"JPY_PARENT_PID": "200"})
    assert not parent.is_gone()
    processes.running.discard(200)
    assert parent.is_gone()


def test_a_server_that_cannot_be_seen_from_here_is_no_sign(processes: Processes) -> None:
    """In a container its number means somebody else or nobody."""
    assert not Parent({"JPY_PARENT_PID": "300"}).is_gone()
    assert not Parent({"JPY_PARENT_PID": "not a number"}).is_gone()


async def test_it_ends_once_and_the_first_reason_counts() -> None:
    life = Life(asyncio.get_running_loop())
    life.end(restart=True, why="a restart")
    life.end(why="a signal")
    assert await life.ended is True


async def test_the_parent_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perijove.kernel.life.LOOK_FOR_PARENT_EVERY_S", 0.0)
    looks = iter([False, False, True])
    life = Life(asyncio.get_running_loop())
    life.watch_parent(lambda: next(looks))
    assert await life.ended is False
