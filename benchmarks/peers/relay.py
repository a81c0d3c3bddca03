"""A bare relayed WebSocket: bytes from here through one relay process to a sink process, and back.

The floor under any design that relays: the `websockets` library, 1 MiB frames, no compression, no pickling, no
acknowledgements, uvloop where it is installed. A far process that sends comes back over the same relay.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

FRAME_BYTES = 1 << 20
_LIMIT_BYTES = FRAME_BYTES + 4096


def _dial(port: int) -> connect:
    return connect(f"ws://127.0.0.1:{port}", compression=None, max_size=_LIMIT_BYTES, proxy=None)


async def far_end(connection: ServerConnection) -> None:
    """Told ``{"take": n}`` it takes n bytes and says so; told ``{"give": true}`` it gives back what it took."""
    store = bytearray()
    async for request in connection:
        wish: dict[str, int] = json.loads(request)
        if "take" in wish:
            store = bytearray(wish["take"])
            await _take(connection, store)
            await connection.send("taken")
        else:
            await _give(connection, memoryview(store))


async def relay_to(port: int, near: ServerConnection) -> None:
    async with _dial(port) as far:
        forwards = asyncio.ensure_future(_forward(near, far))
        backwards = asyncio.ensure_future(_forward(far, near))
        await asyncio.wait((forwards, backwards), return_when=asyncio.FIRST_COMPLETED)
        forwards.cancel()
        backwards.cancel()


async def _forward(source: Any, target: Any) -> None:
    async for message in source:
        await target.send(message)


async def _give(connection: Any, data: memoryview) -> None:
    for start in range(0, len(data), FRAME_BYTES):
        await connection.send(data[start : start + FRAME_BYTES])


async def _take(connection: Any, store: bytearray) -> None:
    view, received = memoryview(store), 0
    while received < len(store):
        frame = await connection.recv()
        view[received : received + len(frame)] = frame
        received += len(frame)


class BareRelay:
    """Sends bytes and fetches them back."""

    def __init__(self, port: int) -> None:
        self._port = port

    def there_and_back(self, data: memoryview) -> tuple[float, float]:
        """Seconds until the far end says that it has all of it, and seconds until all of it is here again."""
        seconds: tuple[float, float] = _run(self._there_and_back(data))
        return seconds

    async def _there_and_back(self, data: memoryview) -> tuple[float, float]:
        async with _dial(self._port) as connection:
            await connection.send('{"take": 0}')  # opens the relay's far side outside of the timing
            await connection.recv()
            started = time.perf_counter()
            await connection.send(json.dumps({"take": len(data)}))
            await _give(connection, data)
            await connection.recv()
            there_s = time.perf_counter() - started
            started = time.perf_counter()
            store = bytearray(len(data))
            await connection.send('{"give": true}')
            await _take(connection, store)
            back_s = time.perf_counter() - started
        if store[-1] != data[-1] or store[0] != data[0]:
            raise AssertionError("the bare relay changed the bytes")
        return there_s, back_s


@contextmanager
def bare_relay() -> Iterator[BareRelay]:
    """The two processes, for as long as the context lasts."""
    processes: list[subprocess.Popen[str]] = []
    try:
        port = 0
        for _ in ("far end", "relay"):
            arguments = [sys.executable, "-m", "benchmarks.peers.relay", str(port)]
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
            processes.append(process)
            assert process.stdout is not None
            port = int(process.stdout.readline())
        yield BareRelay(port)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _run(coroutine: Any) -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)


async def main(target_port: int) -> None:
    """The far end, or with the port of one, the relay to it. Says its own port, and ends with its parent."""

    async def handler(connection: ServerConnection) -> None:
        await (relay_to(target_port, connection) if target_port else far_end(connection))

    async with serve(handler, "127.0.0.1", 0, compression=None, max_size=_LIMIT_BYTES) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    _run(main(int(sys.argv[1])))
