"""The client's end of a kernel's numbered streams: it outlives every connection it runs on (docs/protocol.md §2, §3).

No socket, no clock. What is sent is numbered and kept until the agent has it; what arrives is handed on once, in order,
and acknowledged only when it was taken, so that a slow reader slows the code that prints instead of filling memory.

Whoever holds a :class:`ResumableLink` dials, says hello, and then calls :meth:`~ResumableLink.opened` with the kernel
of the welcome, :meth:`~ResumableLink.text_received` and :meth:`~ResumableLink.envelope_received` for what comes, and
:meth:`~ResumableLink.closed` when the connection is gone. What the link wants sent it gives to ``put`` at once; what
waits there when a connection ends is to be forgotten: the link keeps it and says it again.

Acknowledgements are the holder's to time: while :attr:`~ResumableLink.owes_ack`, call
:meth:`~ResumableLink.acknowledge` within 50 ms, and after every 256 KiB taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from . import envelope, link
from .envelope import Envelope, Kind
from .errors import ConnectionLost, PerijoveError
from .ids import new_stream
from .jupyter_frames import JupyterFrame, Part, decode_frame
from .lanes import Lane
from .models import KernelState, KernelView
from .replay import Inbox, Outbox
from .usage import KernelUsage

Request = link.AttachRequest | link.ReleaseRequest | link.RestartRequest | link.BudgetRequest | link.KeepRequest
Put = Callable[[Lane, "bytes | link.FromClient"], None]
OnReply = Callable[[link.Reply], None]


class Listener(Protocol):
    """Who hears what happens on a link, in order: enqueue, never block."""

    def frame_received(self, frame: JupyterFrame, seq: int, size_bytes: int) -> None: ...
    def state_changed(self, view: KernelView) -> None: ...
    def incarnation_changed(self, view: KernelView) -> None: ...
    def usage_received(self, usage: KernelUsage) -> None: ...
    def undeliverable(self) -> None: ...
    def messages_lost(self, count: int) -> None: ...
    def connection_changed(self, connected: bool) -> None: ...
    def failed(self, error: PerijoveError) -> None: ...


class BlobListener(Protocol):
    """Who moves blobs beside the streams, if anybody does."""

    def received(self, kind: Kind, payload: Part) -> None: ...
    def reconnected(self) -> None: ...
    def abandon(self, error: Exception) -> None: ...


@dataclass(slots=True)
class _Streams:
    """The numbered sequences of one incarnation: two of ours, one of the kernel's."""

    shell: bytes = field(default_factory=new_stream)
    control: bytes = field(default_factory=new_stream)
    shell_out: Outbox = field(default_factory=Outbox)
    control_out: Outbox = field(default_factory=Outbox)
    inbox: Inbox = field(default_factory=Inbox)
    whole_seq: int = 0  # where the last whole frame ended
    taken_seq: int = 0  # by the reader
    acked_seq: int = 0

    @property
    def ack(self) -> int:
        """What the reader has taken; and once it has taken all whole frames, the pieces of the one that is arriving,
        which may be larger than what the agent sends without being acknowledged."""
        return self.inbox.last_seq if self.taken_seq >= self.whole_seq else self.taken_seq


class ResumableLink:
    """One client's link to one kernel, whatever it travels on."""

    def __init__(self, put: Put, listener: Listener, blobs: BlobListener | None = None) -> None:
        self._put = put
        self._listener = listener
        self._blobs = blobs
        self._incarnation: bytes | None = None
        self._streams = _Streams()
        self._resumed = False
        self._requests: dict[str, tuple[Request, OnReply]] = {}
        self.watches = False
        self._can_watch = True
        self.is_open = False
        self.view: KernelView | None = None

    @property
    def is_attached(self) -> bool:
        """Whether the kernel has its GPU and can be spoken to, as far as is known here. Any thread."""
        return self.view is not None and self.view.state is KernelState.ATTACHED and self.is_open

    # the connection -------------------------------------------------------------------------------------------

    def opened(self, view: KernelView, *, can_watch: bool = True) -> None:
        """A connection is there, and its welcome said this of the kernel. ``can_watch``: the broker knows ``watch``."""
        self._resumed = False
        self.is_open = True
        self._can_watch = can_watch
        self._listener.connection_changed(True)
        for message, _ in list(self._requests.values()):
            self._put(Lane.CONTROL, message)
        self._view_changed(view)
        if self.watches and can_watch:
            self._put(Lane.CONTROL, link.Watch(on=True))
        if self._blobs is not None:
            self._blobs.reconnected()

    def closed(self, *, on_purpose: bool = False) -> None:
        """The connection is gone; the listener hears of one that went by itself."""
        self.is_open = False
        self._resumed = False
        if not on_purpose:
            self._listener.connection_changed(False)

    def failed(self, error: PerijoveError) -> None:
        """There will be no further connection: every request is answered with why."""
        for request_id, (_, on_reply) in list(self._requests.items()):
            del self._requests[request_id]
            on_reply(link.Reply(request_id=request_id, code=error.code, message=error.message))
        if self._blobs is not None:
            self._blobs.abandon(error)

    # requests -------------------------------------------------------------------------------------------------

    def request(self, message: Request, on_reply: OnReply) -> None:
        """Ask the broker; asked again on each new connection until it has answered."""
        self._requests[message.request_id] = (message, on_reply)
        self.say(message)

    def forget_request(self, request_id: str) -> None:
        """Its answer interests nobody any more. (To leave the queue, ``say`` a CancelRequest.)"""
        self._requests.pop(request_id, None)

    def watch(self, on: bool) -> None:
        """Have the broker say what the kernel and its GPUs do (``usage_received``), on this and later connections. From
        a broker that does not know of this nothing comes."""
        if on is not self.watches:
            self.watches = on
            if self._can_watch:
                self.say(link.Watch(on=on))

    def say(self, message: link.FromClient) -> None:
        """Tell the broker something that needs no answer; lost when there is no connection."""
        if self.is_open:
            self._put(Lane.CONTROL, message)

    # frames ---------------------------------------------------------------------------------------------------

    def send(self, frame: bytes, *, control: bool = False) -> int:
        """Send a Jupyter frame to the kernel, now and again after a reconnection until it is there. Returns its number.

        Raises:
            ConnectionLost: when there is no kernel process to send to.
        """
        if self._incarnation is None:
            raise ConnectionLost("there is no remote process to send to; run a %%gpu cell first")
        streams = self._streams
        stream, outbox, lane = (
            (streams.control, streams.control_out, Lane.CONTROL)
            if control
            else (streams.shell, streams.shell_out, Lane.SHELL)
        )
        for seq, piece, more in outbox.add(frame):
            if self._resumed:
                self._put(lane, self._data(stream, seq, piece, more))
        return outbox.last_seq

    def send_blob(self, kind: Kind, payload: bytes) -> bool:
        """Send a blob's envelope, behind all else; False: there is no connection or process, ask again on the next."""
        if self._incarnation is None or not self.is_open:
            return False
        self._put(Lane.BULK, envelope.pack(Envelope(kind, self._streams.shell, self._incarnation, payload=payload)))
        return True

    @property
    def last_shell_seq(self) -> int:
        """The number of the last frame that was sent on shell or stdin; what an interrupt is meant for."""
        return self._streams.shell_out.last_seq

    def note_taken(self, seq: int) -> None:
        """The reader has taken all frames up to ``seq``; they are acknowledged soon. Any thread."""
        streams = self._streams
        streams.taken_seq = max(streams.taken_seq, min(seq, streams.inbox.last_seq))

    @property
    def owes_ack(self) -> bool:
        """Whether something arrived that the agent has not been told of."""
        return self._streams.inbox.last_seq > self._streams.acked_seq

    def acknowledge(self) -> None:
        """Tell the agent what was taken, if that is more than it was told before."""
        streams = self._streams
        ack = streams.ack
        if self._incarnation is None or not self._resumed or ack <= streams.acked_seq:
            return
        streams.acked_seq = ack
        self._put(Lane.CONTROL, envelope.pack(Envelope(Kind.ACK, streams.shell, self._incarnation, ack=ack)))

    # what comes -----------------------------------------------------------------------------------------------

    def text_received(self, message: link.State | link.Reply | link.UsageMessage | link.Undeliverable) -> None:
        match message:
            case link.State():
                self._view_changed(message.kernel)
            case link.Reply():
                _, on_reply = self._requests.pop(message.request_id, (None, None))
                if on_reply is not None:
                    on_reply(message)
            case link.UsageMessage():
                self._listener.usage_received(message.usage)
            case link.Undeliverable():
                if self._incarnation is not None and message.incarnation == self._incarnation.hex():
                    self._resumed = False
                    self._listener.undeliverable()

    def envelope_received(self, message: Part) -> None:
        """Take a packed envelope.

        Raises:
            GapInStream: when some before it are missing; close this connection and open another.
            MalformedFrame, IncompatibleVersion: it is no envelope of ours; likewise.
        """
        unpacked = envelope.unpack(message)
        if unpacked.incarnation != self._incarnation:
            return
        match unpacked.kind:
            case Kind.DATA:
                self._data_received(unpacked)
            case Kind.ACK | Kind.RESUMED:
                self._acknowledged(unpacked)
                if unpacked.kind is Kind.RESUMED and (lost := self._streams.inbox.skip_to(unpacked.seq)):
                    self._listener.messages_lost(lost)
            case Kind.BLOB_STORED | Kind.BLOB_DATA | Kind.BLOB_FAILED:
                if self._blobs is not None:
                    self._blobs.received(unpacked.kind, unpacked.payload)
            case _:
                pass  # a newer minor version may say more

    def _data_received(self, message: Envelope) -> None:
        frame = self._streams.inbox.receive(message.seq, message.payload, message.more)
        if frame is None:
            self.acknowledge()
        else:
            self._streams.whole_seq = message.seq
            self._listener.frame_received(decode_frame(frame), message.seq, len(frame))

    def _acknowledged(self, message: Envelope) -> None:
        if message.stream == self._streams.shell:
            self._streams.shell_out.acknowledge(message.ack)
        elif message.stream == self._streams.control:
            self._streams.control_out.acknowledge(message.ack)

    # the kernel's process -------------------------------------------------------------------------------------

    def _view_changed(self, view: KernelView) -> None:
        self.view = view
        incarnation = bytes.fromhex(view.incarnation) if view.incarnation else None
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._streams = _Streams()
            self._resumed = False
            if self._blobs is not None:
                self._blobs.abandon(ConnectionLost("the remote process ended while a value was on its way"))
            self._listener.incarnation_changed(view)
        if view.state is not KernelState.ATTACHED:
            self._resumed = False  # what crosses a release is turned away: the next attach sends it again
        elif incarnation is not None and not self._resumed:
            self._resume()
        self._listener.state_changed(view)

    def _resume(self) -> None:
        """Say what we have of the kernel's stream, and send again what the agent may lack; it drops repeats."""
        assert self._incarnation is not None
        self._resumed = True
        streams = self._streams
        for stream, outbox, lane in (
            (streams.control, streams.control_out, Lane.CONTROL),
            (streams.shell, streams.shell_out, Lane.SHELL),
        ):
            resume = Envelope(Kind.RESUME, stream, self._incarnation, ack=streams.inbox.last_seq)
            self._put(lane, envelope.pack(resume))
            for seq, piece, more in outbox.unacknowledged():
                self._put(lane, self._data(stream, seq, piece, more))

    def _data(self, stream: bytes, seq: int, piece: Part, more: bool) -> bytes:
        assert self._incarnation is not None
        flags = envelope.MORE if more else 0
        return envelope.pack(Envelope(Kind.DATA, stream, self._incarnation, seq, self._streams.taken_seq, flags, piece))
