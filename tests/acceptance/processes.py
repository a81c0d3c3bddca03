"""Looking at the processes that a test's Perijove has started, found by its data directory."""

from __future__ import annotations

import time

import psutil


def ours(marker: str) -> list[psutil.Process]:
    """Processes whose command line or environment names ``marker``, the test's directory, but for this one's own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == psutil.Process().pid or process.status() == psutil.STATUS_ZOMBIE:
                continue
            places = [*process.cmdline(), process.environ().get("PERIJOVE_DATA", "")]
            if any(marker in place for place in places):
                found.append(process)
        except psutil.Error:
            continue
    return found


def named(marker: str, *words: str) -> list[psutil.Process]:
    """Those whose command line has all the words."""
    return [process for process in ours(marker) if all(word in process.cmdline() for word in words)]


def leftovers(marker: str, within_s: float = 10.0) -> list[str]:
    """The command lines of what is still there after a while."""
    deadline = time.monotonic() + within_s
    while (left := ours(marker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [" ".join(process.cmdline()) for process in left if process.is_running()]
