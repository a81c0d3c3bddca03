"""A kernel whose front lives in the broker: Jupyter WebSockets on one side, a client link on the other.

The link is open while a WebSocket is there or something runs: to the core it is a client like any other, and one that
has left when it is closed. The front itself stays as long as the kernel, with the numbers of its cells and what its
front-ends have set up.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from ...wire import link as messages
from ...wire.commands.run import run_command
from ...wire.errors import AttachCancelled, ConnectionLost, KernelError, PerijoveError, from_code
from ...wire.front import instructions as do
from ...wire.front.answers import CommandAnswer
from ...wire.front.front import Front, FrontSettings, interrupting
from ...wire.front.messages import Writer
from ...wire.ids import new_id
from ...wire.jupyter_frames import JupyterFrame, MalformedFrame, encode_frame
from ...wire.lanes import Lane
from ...wire.models import Bill, BudgetScope, By, KernelView, UserLimits
from ...wire.panel.panel import KEEP_S, Wish
from ...wire.replay import GapInStream
from ...wire.resumable import ResumableLink
from ...wire.usage import KernelUsage
from ..api.documents import gpu_documents
from ..core.events import ClientLinkClosed, ClientLinkOpened, ClientSaid, KernelDeleted
from ..ledger.bill import BillRequest
from ..ledger.tokens import Identity, Role
from ..limits import limits_of, set_limit
from ..links.link import CLOSE_RESUME
from .front_end import FrontEnd
from .inner_link import InnerLink
from .surroundings import HostedSurroundings

if TYPE_CHECKING:
    from ..broker import Broker

log = structlog.get_logger(__name__)

ACK_AFTER_S = 0.05
ACK_AFTER_BYTES = 256 << 10
MOST_KEPT = 1000  # messages of ours, while nobody is there
MOST_AWAY = 16  # front-ends whose return is waited for
REST_CLIENT = "rest"


class KernelEnded(KernelError):
    code = "kernel_ended"


@dataclass(slots=True)
class _Mark:
    """A message of the process, and how many messages each front-end had queued with it."""

    seq: int
    size_bytes: int
    generation: int
    needed: dict[FrontEnd, int]


@dataclass(slots=True)
class _Left:
    """What a front-end that went away has not had, for when it comes back with the same session id."""

    speaks_v1: bool
    messages: list[str | bytes]
    replies: list[JupyterFrame] = field(default_factory=list)


class HostedKernel:
    def __init__(self, broker: Broker, kernel_id: str, user: str, gpu_spec: str) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self.kernel_id, self.user = kernel_id, user
        session = uuid.UUID(kernel_id).hex if len(kernel_id) == 36 else kernel_id
        self._session = session
        self.front = Front(FrontSettings(session, gpu_spec), lambda: uuid.uuid4().hex)
        self._writer = Writer(session, lambda: uuid.uuid4().hex)
        self._link = ResumableLink(self._put, self)
        self._inner: InnerLink | None = None
        self._pump: asyncio.Task[None] | None = None
        self.front_ends: dict[str, FrontEnd] = {}  # by session id
        self._kept: deque[JupyterFrame] = (
            deque()
        )  # output that came while none was there, as much as the process's window lets through
        self._marks: deque[_Mark] = deque()
        self._left: dict[str, _Left] = {}  # of front-ends that are away, by session id
        self._of_process = False  # what is being published: its amount is bounded by the process's window
        self._generation = 0
        self._untaken_bytes = 0
        self._ack_timer: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._attaching: asyncio.Task[None] | None = None
        self._commands: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarting = 0
        self.ended = False

    # front-ends ---------------------------------------------------------------------------------------------------

    def add(self, front_end: FrontEnd) -> None:
        """A front-end is there; the one before it with the same session id is replaced."""
        earlier = self.front_ends.pop(front_end.session_id, None)
        if earlier is not None:
            earlier.close_soon("another connection with this session_id has been opened")
        self.front_ends[front_end.session_id] = front_end
        self._catch_up(front_end)
        for mark in self._marks:
            if not mark.needed:
                mark.needed[front_end] = front_end.queued
        self.open_link()
        self.progress()

    def _catch_up(self, front_end: FrontEnd) -> None:
        """What the connection before it was not given, then what came while it was away."""
        left = self._left.pop(front_end.session_id, None)
        if left is not None:
            if left.speaks_v1 == front_end.speaks_v1:
                front_end.send_again(left.messages)
            for frame in left.replies:
                front_end.send(frame)
        while self._kept:
            front_end.send(self._kept.popleft())

    def remove(self, front_end: FrontEnd) -> None:
        if self.front_ends.get(front_end.session_id) is front_end:
            del self.front_ends[front_end.session_id]
            self._left[front_end.session_id] = _Left(front_end.speaks_v1, front_end.untaken)
            if len(self._left) > MOST_AWAY:
                del self._left[next(iter(self._left))]
            self._carry_out(self.front.client_left(front_end.session_id))
        self.progress()
        self._close_if_unused()

    def received(self, front_end: FrontEnd, frame: JupyterFrame) -> None:
        self._carry_out(self.front.from_client(front_end.session_id, frame, self._loop.time()))

    def progress(self) -> None:
        """Some front-end has taken something: tell the process what all of them have."""
        if not self.front_ends and self._marks and self._kept:
            return
        while self._marks and all(
            front_end.sent >= needed
            for front_end, needed in self._marks[0].needed.items()
            if self.front_ends.get(front_end.session_id) is front_end
        ):
            mark = self._marks.popleft()
            if mark.generation == self._generation:
                self._link.note_taken(mark.seq)
                self._untaken_bytes += mark.size_bytes
        if self._untaken_bytes >= ACK_AFTER_BYTES:
            self._acknowledge()
        elif self._link.owes_ack and self._ack_timer is None:
            self._ack_timer = self._loop.call_later(ACK_AFTER_S, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._untaken_bytes = 0
        self._link.acknowledge()

    # the link -----------------------------------------------------------------------------------------------------

    @property
    def is_linked(self) -> bool:
        return self._inner is not None

    @property
    def view(self) -> KernelView | None:
        kernel = self._broker.fleet.kernel(self.kernel_id)
        return None if kernel is None else self._broker.fleet.view(kernel, self._broker.now())

    def open_link(self) -> None:
        if self._inner is not None or self.ended:
            return
        inner = self._inner = InnerLink(
            self.user, self._text_received, self._envelope_received, self._inner_closed, self._deliver
        )
        self._pump = self._loop.create_task(inner.pump())
        self._broker.links[inner.id] = inner
        self._broker.relay.client_link_opened(self.kernel_id, inner)
        self._broker.happen(ClientLinkOpened(self.kernel_id, inner.id, self._session))

    def _close_link(self, *, on_purpose: bool = True) -> None:
        inner, self._inner = self._inner, None
        if inner is None:
            return
        inner.close()
        if self._pump is not None:
            self._pump.cancel()
        self._broker.links.pop(inner.id, None)
        self._broker.watchers.left(self.kernel_id, inner)
        self._broker.relay.client_link_closed(self.kernel_id, inner)
        self._link.closed(on_purpose=on_purpose)
        self._broker.happen(ClientLinkClosed(self.kernel_id, inner.id))

    def _close_if_unused(self) -> None:
        """Nobody is there and nothing runs: to the core the client has left, and the idle GPU goes back soon."""
        busy = self.front.execution_state == "busy" or self._commands or self._restarting
        if not self.front_ends and not busy and self._inner is not None:
            self._loop.call_soon(self._close_link_if_still_unused)

    def _close_link_if_still_unused(self) -> None:
        busy = self.front.execution_state == "busy" or self._commands or self._restarting
        if not self.front_ends and not busy:
            self._close_link()

    async def _deliver(self, data: bytes) -> None:
        if self._inner is not None:
            await self._broker.relay.from_client(self.kernel_id, self._inner, data)

    def _put(self, lane: Lane, message: bytes | messages.FromClient) -> None:
        if self._inner is None:
            return
        if isinstance(message, bytes):
            self._inner.put(lane, message)
        elif isinstance(message, messages.Watch):
            self._broker.watch(self.kernel_id, self._inner, on=message.on)
        else:
            self._broker.happen(ClientSaid(self.kernel_id, self._inner.id, message))

    def _text_received(self, message: messages.ToClient) -> None:
        if isinstance(message, messages.LinkWelcome):
            self._link.opened(message.kernel)
        elif isinstance(message, messages.LinkRefused):
            self._inner_closed(0, message.message)
        else:
            self._link.text_received(message)
        self._close_if_unused()

    def _envelope_received(self, data: bytes) -> None:
        try:
            self._link.envelope_received(data)
        except (GapInStream, MalformedFrame) as error:
            log.warning("hosted.out_of_step", kernel=self.kernel_id, error=str(error))
            self._loop.call_soon(self._inner_closed, CLOSE_RESUME, str(error))

    def _inner_closed(self, code: int, reason: str) -> None:
        """The broker has closed it: to have us resume, or because the kernel is over."""
        self._close_link(on_purpose=False)
        if self._broker.fleet.kernel(self.kernel_id) is None:
            self.end(reason or "the kernel was ended")
        elif code == CLOSE_RESUME or self.front_ends:
            self.open_link()

    def end(self, reason: str) -> None:
        """The kernel is over: so is everything here."""
        if self.ended:
            return
        self.ended = True
        self._publish_status("dead")
        self._link.failed(KernelEnded(reason))
        self._close_link()
        for front_end in list(self.front_ends.values()):
            front_end.close_soon(reason)
        for task in list(self._tasks):
            task.cancel()
        for timer in (self._alarm, self._ack_timer):
            if timer is not None:
                timer.cancel()
        self._broker.doors.forget(self.kernel_id)

    # what the link tells ------------------------------------------------------------------------------------------

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None:
        self._of_process = True
        self._carry_out(self.front.from_process(frame, self._loop.time()))
        self._of_process = False
        needed = {front_end: front_end.queued for front_end in self.front_ends.values()}
        self._marks.append(_Mark(seq, size_bytes, self._generation, needed))
        self.progress()
        self._close_if_unused()

    def state_changed(self, view: KernelView) -> None:
        self._carry_out(self.front.view_changed(view, self._loop.time()))

    def usage_received(self, usage: KernelUsage) -> None:
        self._carry_out(self.front.usage_received(usage, self._loop.time()))

    def incarnation_changed(self, view: KernelView) -> None:
        self._generation += 1

    def undeliverable(self) -> None:
        self._carry_out(self.front.undeliverable(self._loop.time()))

    def messages_lost(self, count: int) -> None:
        self._carry_out(self.front.messages_lost(count, self._loop.time()))

    def connection_changed(self, connected: bool) -> None:
        """Within one process there is nothing to tell."""

    def failed(self, error: PerijoveError) -> None:
        self._carry_out(self.front.lost(error, self._loop.time()))

    # carrying out -------------------------------------------------------------------------------------------------

    def _carry_out(self, instructions: Iterable[do.Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case do.Publish(frame):
                    self._publish(frame)
                case do.ToClient(client, frame):
                    self._reply(str(client), frame)
                case do.ToProcess(frame, control):
                    self._send(frame, control=control)
                case do.Interrupt(request):
                    self._send(interrupting(request, self._link.last_shell_seq), control=True)
                case do.Attach():
                    self._attaching = self._start(self._attach())
                case do.CancelAttach():
                    if self._attaching is not None:
                        self._attaching.cancel()
                case do.RunCommands(token, lines):
                    self._commands[token] = self._start(self._run_commands(token, lines))
                case do.CancelCommands(token):
                    if (task := self._commands.get(token)) is not None:
                        task.cancel()
                case do.Watch():
                    self.watch()
                case do.Fulfil(wish):
                    self._start(self._fulfil(Wish(wish)))
                case do.WakeUp(after_s):
                    if self._alarm is not None:
                        self._alarm.cancel()
                    self._alarm = self._loop.call_later(after_s, self._tick)
                case do.ShutDown(restart):
                    self._start(self.restart() if restart else self._delete())

    def _reply(self, session_id: str, frame: JupyterFrame) -> None:
        front_end = self.front_ends.get(session_id)
        if front_end is not None:
            front_end.send(frame)
        elif (left := self._left.get(session_id)) is not None and len(left.replies) < MOST_KEPT:
            left.replies.append(frame)

    def _publish(self, frame: JupyterFrame) -> None:
        for front_end in self.front_ends.values():
            front_end.send(frame)
        if not self.front_ends and (self._of_process or len(self._kept) < MOST_KEPT):
            self._kept.append(frame)

    def _publish_status(self, state: str) -> None:
        self._publish(self._writer.message("iopub", "status", {"execution_state": state}))

    def _send(self, frame: JupyterFrame, *, control: bool) -> None:
        with contextlib.suppress(ConnectionLost):
            self._link.send(encode_frame(frame.channel, frame.parts), control=control)

    def _tick(self) -> None:
        self._alarm = None
        self._carry_out(self.front.tick(self._loop.time()))

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def ask(self, request: Any) -> None:
        """Ask the core, as the client that this is.

        Raises:
            PerijoveError: what it answered.
        """
        self.open_link()
        answered: asyncio.Future[messages.Reply] = self._loop.create_future()
        self._link.request(request, lambda reply: None if answered.done() else answered.set_result(reply))
        try:
            reply = await answered
        except asyncio.CancelledError:
            self._link.forget_request(request.request_id)
            if isinstance(request, messages.AttachRequest):
                self._link.say(messages.CancelRequest(request_id=request.request_id))
            raise
        if reply.code:
            raise from_code(reply.code, reply.message)

    async def _attach(self) -> None:
        error: PerijoveError | None = None
        try:
            await self.ask(messages.AttachRequest(request_id=new_id("request")))
        except PerijoveError as problem:
            error = problem
        self._carry_out(self.front.attach_answered(error, self._loop.time()))
        self._close_if_unused()

    async def _run_commands(self, token: str, lines: Sequence[str]) -> None:
        answers: list[CommandAnswer] = []
        error: BaseException | None = None
        surroundings = HostedSurroundings(self)
        try:
            for line in lines:
                answers.append((await run_command(line, surroundings)).answer)
        except asyncio.CancelledError:
            error = AttachCancelled("interrupted; what had not been done yet is not done")
        except PerijoveError as problem:
            error = problem
        except Exception as problem:
            log.exception("hosted.command_failed", kernel=self.kernel_id)
            error = PerijoveError(f"the line failed by a mistake of Perijove's: {type(problem).__name__}")
        self._commands.pop(token, None)
        if not self.ended:
            self._carry_out(self.front.commands_answered(token, answers, error, self._loop.time()))
            self._close_if_unused()

    def watch(self) -> None:
        """Be told from now on what the kernel and its GPUs do."""
        self.open_link()
        self._link.watch(True)

    async def _fulfil(self, wish: Wish) -> None:
        """What a button of the panel asks for."""
        request_id = new_id("request")
        request: messages.ReleaseRequest | messages.KeepRequest | messages.AttachRequest
        match wish:
            case Wish.RELEASE:
                request = messages.ReleaseRequest(request_id=request_id)
            case Wish.KEEP:
                request = messages.KeepRequest(request_id=request_id, seconds=KEEP_S)
            case _:
                request = messages.AttachRequest(request_id=request_id)
        error = ""
        try:
            await self.ask(request)
        except PerijoveError as problem:
            error = str(problem)
        self._carry_out(self.front.wish_ended(wish, error, self._loop.time()))

    # what the REST API asks ---------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """As a front-end's interrupt_request, whose reply goes to nobody."""
        request = self._writer.message("control", "interrupt_request", {})
        instructions = self.front.from_client(REST_CLIENT, request, self._loop.time())
        # Nobody has sent that request, so nobody waits for its busy and idle.
        self._carry_out(
            instruction
            for instruction in instructions
            if not (isinstance(instruction, do.Publish) and instruction.frame.parent_header == request.header)
        )

    async def restart(self) -> None:
        """A new process, on the GPU that is held if there is one; cells begin at 1.

        Raises:
            PerijoveError: why it could not be started; the kernel is detached then.
        """
        self._restarting += 1
        self._carry_out(self.front.restarting(self._loop.time()))
        # Not ``restarting``: JupyterLab takes that for a kernel that has died, and says so in a dialog.
        try:
            await self.ask(messages.RestartRequest(request_id=new_id("request")))
        finally:
            self._restarting -= 1
            if not self.ended:
                self._carry_out(self.front.restarted(self._loop.time()))
                self._publish_status("starting")
                self._publish_status("idle")
                self._close_if_unused()

    async def _delete(self) -> None:
        self._broker.happen(KernelDeleted(self.kernel_id))

    def gpus(self) -> list[dict[str, Any]]:
        return [gpu for agent in self._broker.fleet.agents.values() for gpu in gpu_documents(self._broker, agent)]

    async def bill(self, *, everything: bool, by: By) -> Bill:
        kernels = None if everything else frozenset({self.kernel_id})
        return await self._broker.bill(BillRequest(user=self.user, kernels=kernels, by=by))

    def limits(self) -> UserLimits:
        return limits_of(self._broker, self.user)

    async def set_limit(self, scope: BudgetScope, nanodollars: int | None) -> UserLimits:
        """Whoever runs cells here acts as the kernel's user, whatever else their token may do."""
        as_user = Identity(Role.USER, self.user, "")
        return await set_limit(self._broker, as_user, self.user, scope, nanodollars)
