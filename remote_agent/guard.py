"""The guard: a tiny process that cleans up after its agent, even when the agent was killed.

It reads from a socket whose other end only the agent holds. When that end closes, for whatever reason, the guard ends
every process with the agent's mark and removes the agent's directories. The agent also hands it the locks of the GPUs
in use, so that no lock is free before the last process that may use the GPU is gone (DESIGN.md §3).

The program: ``python -m perijove.remote_agent.guard <socket fd> <mark> <directory>…``
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from .strays import end_marked, remove_directories

HOLD = b"+"  # followed by the lock's name, with its file descriptor
LET_GO = b"-"
_MESSAGE_BYTES = 256


def watch(agent: socket.socket, mark: str, directories: list[Path]) -> None:
    locks: dict[bytes, int] = {}
    while True:
        try:
            message, fds, _, _ = socket.recv_fds(agent, _MESSAGE_BYTES, 1)
        except OSError:
            break
        if not message:
            break
        if message.startswith(HOLD) and fds:
            locks[message[1:]] = fds[0]
        elif message.startswith(LET_GO):
            lock_fd = locks.pop(message[1:], None)
            if lock_fd is not None:
                os.close(lock_fd)
        agent.send(b".")  # one message at a time: a stream would join them
    end_marked(mark)
    remove_directories(directories)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its agent, not with the terminal
    fd, mark, *directories = sys.argv[1:]
    watch(socket.socket(fileno=int(fd)), mark, [Path(directory) for directory in directories])


if __name__ == "__main__":
    main()
