"""Carries out what the front says, between front-ends' sockets and the remote kernel.

Nothing here knows what a message means; the order in which things happen is the whole of it: instructions are carried
out at once and in order, and a message of the process is taken only when front-ends have it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..wire.errors import AttachCancelled, PerijoveError
from ..wire.front.instructions import (
    Attach,
    CancelAttach,
    CancelCommands,
    Fulfil,
    Instruction,
    Interrupt,
    Publish,
    RunCommands,
    ShutDown,
    ToClient,
    ToProcess,
    WakeUp,
    Watch,
)
from ..wire.front.messages import type_of
from ..wire.jupyter_frames import JupyterFrame

if TYPE_CHECKING:
    from ..wire.front.answers import CommandAnswer
    from ..wire.front.front import Front
    from ..wire.models import KernelView
    from ..wire.usage import KernelUsage
    from .hand_over import HandOver
    from .remote import Remote

log = logging.getLogger(__name__)

COMM_MESSAGES = ("comm_open", "comm_msg", "comm_close")

REPLY_WAITS_AT_MOST_S = 2.0
"""For the output of its cell. nbclient gives up on output 4 s after the reply; others read the reply first."""

WIDGETS_LEAD_S = 0.02
"""How long front-ends have for a widget's messages before the reply to the cell comes.

nbclient answers an Output widget's messages on the socket on which it waits for the reply, in a way that loses the
wake-up of a reply which has come meanwhile (jupyter_client sends past pyzmq's asyncio): it then waits for ever. A local
ipykernel is slow enough for this to be rare; without this lead two runs in three would stop.
"""


class Outlet(Protocol):
    """IOPub, as far as the bridge uses it."""

    def publish(self, frame: JupyterFrame) -> None: ...
    def then(self, callback: Callable[[], None]) -> None: ...
    def when_room(self, callback: Callable[[], None]) -> None: ...

    @property
    def is_behind(self) -> bool: ...


class Bridge:
    """``send`` gives a message to one front-end; ``end`` is told when a front-end shuts the kernel down."""

    def __init__(
        self,
        front: Front,
        output: Outlet,
        send: Callable[[Any, JupyterFrame], None],
        open_remote: Callable[[Bridge], Awaitable[Remote]],
        end: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._front = front
        self._output = output
        self._send = send
        self._end = end
        self._open_remote = open_remote
        self._remote: Remote | None = None
        self._loading: asyncio.Task[Remote] | None = None
        self._attaching: asyncio.Task[None] | None = None
        self._commands: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._widgets_spoke = float("-inf")  # on the loop's clock
        self._waiting_replies: deque[tuple[Any, JupyterFrame]] = deque()

    # front-ends ---------------------------------------------------------------------------------------------------

    def received(self, client: Any, frame: JupyterFrame) -> None:
        """A front-end's message."""
        self._tell(self._front.from_client, client, frame)

    # the remote kernel --------------------------------------------------------------------------------------------

    def frame_received(self, frame: JupyterFrame, taken: Callable[[], None]) -> None:
        self._tell(self._front.from_process, frame)
        self._output.when_room(taken)

    def view_changed(self, view: KernelView) -> None:
        self._tell(self._front.view_changed, view)

    def usage_received(self, usage: KernelUsage) -> None:
        self._tell(self._front.usage_received, usage)

    def undeliverable(self) -> None:
        self._tell(self._front.undeliverable)

    def messages_lost(self, count: int) -> None:
        self._tell(self._front.messages_lost, count)

    def connection_changed(self, connected: bool) -> None:
        self._carry_out(self._front.connection_changed(connected, self._loop.time()))

    def lost(self, error: PerijoveError) -> None:
        self._tell(self._front.lost, error)

    # carrying out -------------------------------------------------------------------------------------------------

    def _tell(self, event: Callable[..., list[Instruction]], *details: Any) -> None:
        """Tell the front, and do what it says. A mistake of ours over one message must end neither link nor kernel."""
        try:
            self._carry_out(event(*details, self._loop.time()))
        except Exception:
            log.exception("a message or event could not be dealt with")

    def _carry_out(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Publish(frame, own):
                    self._output.publish(frame)
                    if not own and type_of(frame.header) in COMM_MESSAGES:  # to the panel's nobody answers
                        self._widgets_spoke = self._loop.time()
                case ToClient(client, frame):
                    self._answer(client, frame)
                case ToProcess(frame, control):
                    if self._remote is not None:
                        self._remote.send(frame, control=control)
                case Interrupt(request):
                    if self._remote is not None:
                        self._remote.interrupt(request)
                case WakeUp(after_s):
                    self._set_alarm(after_s)
                case Attach():
                    self._attaching = self._start(self._attach())
                case CancelAttach():
                    if self._attaching is not None:
                        self._attaching.cancel()
                case RunCommands(token, lines):
                    self._commands[token] = self._start(self._run_commands(token, lines))
                case CancelCommands(token):
                    if (task := self._commands.get(token)) is not None:
                        task.cancel()
                case Watch():
                    self._start(self._watch())
                case Fulfil(wish):
                    self._start(self._fulfil(wish))
                case ShutDown(restart):
                    self._end(restart)

    def _answer(self, client: Any, frame: JupyterFrame) -> None:
        """Nothing waits behind output but the reply to a cell, for a moment, since it says that the cell is done."""
        if not isinstance(client, tuple):
            return  # a message that the front gave in a front-end's place
        if type_of(frame.header) != "execute_reply":
            self._send(client, frame)
        elif self._waiting_replies:
            self._waiting_replies.append((client, frame))
        elif self._output.is_behind:
            self._send_behind_output(client, frame)
        elif (lead_s := self._widgets_spoke + WIDGETS_LEAD_S - self._loop.time()) > 0:
            self._waiting_replies.append((client, frame))
            self._loop.call_later(lead_s, self._send_waiting_replies)
        else:
            self._send(client, frame)

    def _send_behind_output(self, client: Any, frame: JupyterFrame) -> None:
        sent = False

        def send_once() -> None:
            nonlocal sent
            if not sent:
                sent = True
                timer.cancel()
                self._send(client, frame)

        timer = self._loop.call_later(REPLY_WAITS_AT_MOST_S, send_once)
        self._output.then(send_once)

    def _send_waiting_replies(self) -> None:
        while self._waiting_replies:
            self._send(*self._waiting_replies.popleft())

    def _set_alarm(self, after_s: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(after_s, self._alarm_rang)

    def _alarm_rang(self) -> None:
        self._alarm = None
        self._tell(self._front.tick)

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # the broker ---------------------------------------------------------------------------------------------------

    def connect_early(self) -> None:
        """Look for a broker that runs, in the background."""

        async def connect() -> None:
            await (await self.remote()).connect_early()

        self._start(connect())

    async def remote(self) -> Remote:
        if self._remote is None:
            if self._loading is None:
                self._loading = self._start_loading()
            self._remote = await asyncio.shield(self._loading)
        return self._remote

    def _start_loading(self) -> asyncio.Task[Remote]:
        async def load() -> Remote:
            return await self._open_remote(self)

        task = self._loop.create_task(load())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _attach(self) -> None:
        error: PerijoveError | None = None
        try:
            await (await self.remote()).attach()
        except PerijoveError as problem:
            error = problem
        except Exception as problem:
            log.exception("a GPU could not be asked for")
            error = PerijoveError(f"a GPU could not be asked for, by a mistake of Perijove's: {problem!r}")
        self._tell(self._front.attach_answered, error)

    async def _run_commands(self, token: str, lines: Sequence[str]) -> None:
        """What ``%gpu`` lines came to is told whatever ends them."""
        answers: list[CommandAnswer] = []
        error: BaseException | None = None
        try:
            remote = await self.remote()
            from .commands import run_lines  # with what it needs it takes longer than a kernel's start

            await run_lines(lines, remote, answers)
        except asyncio.CancelledError:
            error = AttachCancelled("interrupted; what the broker had not done yet is not done")
        except PerijoveError as problem:
            error = problem
        except Exception as problem:
            log.exception("a %%gpu line failed")
            error = PerijoveError(f"the line failed by a mistake of Perijove's: {problem!r}")
        self._commands.pop(token, None)
        self._tell(self._front.commands_answered, token, answers, error)

    async def _watch(self) -> None:
        try:
            await (await self.remote()).watch()
        except PerijoveError as problem:
            log.warning("the panel is not told what the GPU does: %s", problem)

    async def _fulfil(self, asked: str) -> None:
        from ..wire.panel.panel import Wish  # there is a panel, so it is loaded

        error = ""
        try:
            await (await self.remote()).fulfil(Wish(asked))
        except PerijoveError as problem:
            error = str(problem)
        except Exception as problem:
            log.exception("a button of the panel: %s", asked)
            error = f"that failed by a mistake of Perijove's: {problem!r}"
        self._tell(self._front.wish_ended, Wish(asked), error)

    # the end ------------------------------------------------------------------------------------------------------

    async def close(self, *, restart: bool) -> HandOver | None:
        """Let go of the remote kernel, or have it ready for who comes next."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._send_waiting_replies()
        for task in (self._attaching, *self._commands.values()):
            if task is not None:
                task.cancel()
        if self._loading is None:
            return None
        remote = await self.remote()
        if restart:
            return await remote.hand_over()
        await remote.goodbye()
        return None
