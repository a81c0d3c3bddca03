"""The heartbeat: whatever a front-end sends comes back, from a thread that runs no Python.

A silent heartbeat invites an autorestart, so nothing that the loop does may hold it up: libzmq's own proxy echoes, in
a context of its own (ipykernel's ``heartbeat.py`` does the same, for the same reason).
"""

from __future__ import annotations

import contextlib
import threading

import zmq


class Heartbeat:
    """Made bound, echoing once started."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self.socket = self._context.socket(zmq.ROUTER)
        self._thread = threading.Thread(target=self._echo, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """The proxy's thread sees its context end, and closes the socket, which belongs to that thread by then."""
        if not self._thread.is_alive():
            self.socket.close(linger=0)
        self._context.term()

    def _echo(self) -> None:
        with contextlib.suppress(zmq.ZMQError):  # the context has ended
            zmq.proxy(self.socket, self.socket)
        self.socket.close(linger=0)
