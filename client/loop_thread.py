"""The client's own thread and event loop inside somebody else's process.

A notebook's main thread and loop belong to the user: a cell may block them for hours. So everything that must go on
meanwhile (the link, acknowledgements, goodbyes) lives here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A daemon thread that runs one event loop until :meth:`stop`."""

    def __init__(self, name: str = "perijove-client") -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks only weakly
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        # A fresh context: a task started from a cell would otherwise print into that cell for ever.
        contextvars.Context().run(self._thread.start)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop; the future is for the calling thread to wait on, or to cancel."""
        # Not in the caller's context, which would tie what the coroutine prints to the cell that started it.
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)

    def keep(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine for as long as it likes. On the loop's own thread."""
        task = self._loop.create_task(coroutine, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop, soon. Does nothing once the thread has stopped."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments, context=contextvars.Context())

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop, later. On the loop's own thread."""
        self._loop.call_later(delay_s, function, *arguments, context=contextvars.Context())

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Cancel what runs, close the loop and wait for the thread, at most ``timeout_s``."""
        if self._thread.is_alive() and not self.is_current:
            self.call(self._loop.stop)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            if pending:
                self._loop.run_until_complete(asyncio.wait(pending, timeout=1.0))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
