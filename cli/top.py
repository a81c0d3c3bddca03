"""``perijove top``: agents, GPUs, who holds what, the queue and the rate of spend, live, with keys that act on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from ..client.find_broker import find_running_broker
from ..client.http import BrokerClient
from ..wire.errors import BrokerUnreachable, PerijoveError
from .reports import JsonOption
from .top_keys import Keys, Selection, Wish, after_key, looked
from .top_picture import Document, Sort, picture, screen

PIPE_WIDTH = 160
LOOK_WITHIN_S = 5.0  # a broker that takes longer is shown as one that does not answer


def register(app: typer.Typer) -> None:
    app.command()(top)


def top(
    sort: Annotated[Sort, typer.Option(help="What kernels are sorted by; the key s changes it.")] = Sort.COST,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5, max=60)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end; so does a pipe.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What GPUs and kernels do now, live. Admins see everybody's kernels.

    Keys: up and down (or k and j) select, r releases the selected kernel, d drains the selected agent or takes that
    back, s sorts otherwise, q ends.
    """
    asyncio.run(_top(sort, every, once=once or not sys.stdout.isatty(), as_json=as_json))


async def _top(sort: Sort, every_s: float, *, once: bool, as_json: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        broker = _Broker(stack)
        document = await broker.look()
        if as_json:
            print(json.dumps(document, indent=2))
        elif once:
            # A pipe has no width: lines are as long as they are, for whoever reads them.
            Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(picture(document, sort))
        else:
            await _Top(broker, document, sort, every_s).run()


class _Broker:
    """The broker that there is: an embedded one may come back at another address."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self._client: BrokerClient | None = None

    async def look(self) -> Document:
        """
        Raises:
            BrokerUnreachable: when there is none, or it does not answer; the next look looks for it anew.
        """
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                client = await self.client()
                return await client.status()
        except TimeoutError:
            raise BrokerUnreachable("the broker does not answer") from None
        except BrokerUnreachable:
            self._client = None
            raise

    async def client(self) -> BrokerClient:
        if self._client is None:
            address = await find_running_broker()
            if address is None:
                raise BrokerUnreachable(
                    "no broker runs here, so there is nothing to show; a notebook's first cell starts one"
                )
            self._client = await self._stack.enter_async_context(BrokerClient(address))
        return self._client


class _Top:
    """The screen while it lives: what was seen last, what is selected, and what is being asked or done."""

    def __init__(self, broker: _Broker, document: Document, sort: Sort, every_s: float) -> None:
        self._broker = broker
        self._every_s = every_s
        self._state = looked(Selection(sort), document)
        self._document = document
        self._seen_at, self._problem = time.monotonic(), ""
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        console = Console()
        with _keyboard(self._press), Live(console=console, screen=True, auto_refresh=False) as live:
            async with self._tasks as tasks:
                looking = tasks.create_task(self._look())
                while not self._ended.is_set():
                    stale = _stale(self._problem, self._seen_at)
                    live.update(screen(self._document, self._state, stale, console), refresh=True)
                    await self._changed.wait()
                    self._changed.clear()
                looking.cancel()

    async def _look(self) -> None:
        """Again and again. A broker that is away stays on the screen as it was, with how old that is."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                self._document = await self._broker.look()
                self._seen_at, self._problem = time.monotonic(), ""
                self._state = looked(self._state, self._document)
            except PerijoveError as error:
                self._problem = str(error)
            self._changed.set()

    def _press(self, key: str) -> None:
        if key in (Keys.QUIT, Keys.INTERRUPT, Keys.END):
            self._ended.set()
        self._state, wish = after_key(self._state, self._document, key)
        if wish is not None:
            self._tasks.create_task(self._carry_out(wish))
        self._changed.set()

    async def _carry_out(self, wish: Wish) -> None:
        """Beside looking on: a broker that takes its time must not freeze the screen."""
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                await wish.carry_out(await self._broker.client())
            said = wish.done
        except TimeoutError:
            said = "the broker does not answer; look whether it was done"
        except PerijoveError as error:
            said = str(error)
        self._state = replace(self._state, said=said)
        self._changed.set()


def _stale(problem: str, seen_at: float) -> str:
    return f"as of {time.monotonic() - seen_at:.0f} s ago: {problem}" if problem else ""


@contextlib.contextmanager
def _keyboard(pressed: Callable[[str], None]) -> Iterator[None]:
    """Keys as they are pressed, where there is a keyboard."""
    try:
        import termios  # not on Windows, where Ctrl-C ends it
        import tty
    except ImportError:
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    keys = Keys()

    def read() -> None:
        for key in keys.read(os.read(keyboard, 64).decode("latin-1")):
            pressed(key)

    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
