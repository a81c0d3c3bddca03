"""The agent's side of its guard: starts it, starts another should it die, and hands it the locks in use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys

import structlog

from .guard import HOLD, LET_GO
from .premises import Premises

_STOP_TIMEOUT_S = 10.0
log = structlog.get_logger("perijove.agent")


class Guard:
    """Use as a task: :meth:`run` keeps a guard alive until cancelled."""

    def __init__(self, premises: Premises) -> None:
        self._premises = premises
        self._locks: dict[bytes, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "perijove.remote_agent.guard",
                    str(theirs.fileno()),
                    self._premises.mark,
                    *map(str, self._premises.of_this_run),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        self._socket = ours
        for name, lock_fd in self._locks.items():
            self._send(HOLD + name, lock_fd)

    async def run(self) -> None:
        """Start another guard whenever one dies."""
        while True:
            process = self._process
            assert process is not None
            await asyncio.to_thread(process.wait)
            log.warning("guard died, starting another", status=process.returncode)
            if self._socket is not None:
                self._socket.close()
            self.start()

    def hold(self, name: str, lock_fd: int) -> None:
        self._locks[name.encode()] = lock_fd
        self._send(HOLD + name.encode(), lock_fd)

    def let_go(self, name: str) -> None:
        self._locks.pop(name.encode(), None)
        self._send(LET_GO + name.encode())

    def stop(self) -> None:
        """The agent ends in an orderly way: so does its guard, after a last look round."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)

    def _send(self, message: bytes, lock_fd: int | None = None) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # it died: the next one is told everything
            socket.send_fds(self._socket, [message], [] if lock_fd is None else [lock_fd])
            self._socket.recv(1)
