"""Many open pages of a broker: each reads its stream as fast as it comes, and notes what came."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 18


@dataclass(slots=True)
class _Seen:
    """What all pages together were sent."""

    bytes: int = 0
    silent: int = 0  # pages that were sent nothing at all


async def watch(url: str, token: str, seen: _Seen, opened: asyncio.Event) -> None:
    """One page, by a bare HTTP request: what reads must not cost more than what writes."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=CHUNK_BYTES)
    writer.write(
        f"GET /api/live HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode("latin-1")
    )
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(f"the broker answers a watcher with {head[:60]!r}")
        opened.set()
        seen.silent += 1
        first = True
        while data := await reader.read(CHUNK_BYTES):
            seen.silent -= first
            first = False
            seen.bytes += len(data)
    finally:
        writer.close()


async def serve(wishes: dict[str, Any]) -> None:
    """Open a page for each token, say ``ready``, and answer each line of stdin with what was seen since the last.

    ``wishes``: url, tokens, at_most_s. Ends when stdin does.
    """
    seen = _Seen()
    async with asyncio.timeout(wishes["at_most_s"]), asyncio.TaskGroup() as tasks:
        running = []
        for token in wishes["tokens"]:
            opened = asyncio.Event()
            running.append(tasks.create_task(watch(wishes["url"], token, seen, opened)))
            await opened.wait()
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"bytes": seen.bytes, "silent": seen.silent}), flush=True)
            seen.bytes = 0
        for task in running:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
