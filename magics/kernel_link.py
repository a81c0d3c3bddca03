"""The notebook's synchronous end of a kernel's channel: send, wait, and move parcels, from its own threads."""

from __future__ import annotations

import concurrent.futures
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..wire.errors import KernelReleased
from ..wire.models import KernelState, KernelView
from ..wire.panel.panel import KEEP_S, Wish
from ..wire.values.parcel import Parcel
from .inflow import Inflow
from .interrupts import DeferredInterrupts
from .messages import Document, Message, make_frame, new_header
from .parcel_link import described_buffers, get_large_buffers, large_bytes, put_large_buffers

if TYPE_CHECKING:
    from ..client.channel import KernelChannel
    from ..widgets.notebook_panel import NotebookPanel
    from .notebook import Notebook

TICK_S = 0.25
ACK_AT_BYTES = 256 * 1024


class KernelLink:
    """One kernel's channel as the notebook uses it; there is none before the first attach."""

    def __init__(self, notebook: Notebook, spec: str) -> None:
        self.inflow = Inflow(notebook.wake_idle)
        self.interrupts = DeferredInterrupts(self.inflow.wake)
        self._notebook = notebook
        self._spec = spec
        self._channel: KernelChannel | None = None
        self._untaken_bytes = 0
        self._watched = False

    @property
    def is_open(self) -> bool:
        return self._channel is not None

    @property
    def channel(self) -> KernelChannel:
        """Raises KernelReleased when nothing has run yet."""
        if self._channel is None:
            raise KernelReleased(f"nothing has run on {self._spec} yet; run a %%gpu cell first")
        return self._channel

    @property
    def view(self) -> KernelView | None:
        """The broker's latest word on this kernel; None before the first attach. Any thread."""
        return self._channel.view if self._channel is not None else None

    def is_reachable(self) -> bool:
        """Whether a message sent now would be handled without attaching a GPU. Any thread."""
        view = self.view
        return view is not None and view.state is KernelState.ATTACHED

    @property
    def is_attached(self) -> bool:
        """Whether there is nothing to do to have the GPU, as far as is known here."""
        return self._channel is not None and self._channel.is_attached

    @property
    def view_age_s(self) -> float:
        """How long ago that was said."""
        return 0.0 if self._channel is None else time.monotonic() - self._channel.viewed_at

    async def attach(self) -> KernelView:
        """On the client's loop; opens the channel the first time."""
        return await (await self._opened()).attach()

    async def set_budget(self, nanodollars: int | None) -> None:
        """On the client's loop; opens the channel the first time."""
        await (await self._opened()).set_budget(nanodollars)

    async def _opened(self) -> KernelChannel:
        if self._channel is None:
            self._channel = await self._notebook.open_channel(self._spec, self.inflow)
            self._channel.watch(self._watched)
        return self._channel

    def watch(self, panel: NotebookPanel) -> None:
        """From now on ``panel`` hears what the kernel and its GPUs do."""
        self.inflow.panel, self._watched = panel, True

        def begin() -> None:
            if self._channel is not None:
                if self._channel.view is not None:
                    panel.view_changed(self._channel.view)
                self._channel.watch(True)

        self._notebook.loop.call(begin)

    async def fulfil(self, wish: Wish) -> None:
        """Do what a button of the panel asks for. On the client's loop."""
        match wish:
            case Wish.RELEASE:
                await self.channel.release()
            case Wish.KEEP:
                await self.channel.keep(KEEP_S)
            case Wish.INTERRUPT:
                self.send_interrupt()
            case Wish.ATTACH:
                await self.attach()

    def wait(self, coroutine: Any) -> Any:
        """The result of something on the client's loop; an interrupt cancels it."""
        future: concurrent.futures.Future[Any] = self._notebook.loop.submit(coroutine)
        try:
            while True:
                try:
                    return future.result(TICK_S)
                except TimeoutError:
                    if future.done():
                        raise
                    self._notebook.progress.tick()
                    if self.interrupts.take():
                        raise KeyboardInterrupt from None
        except KeyboardInterrupt:
            future.cancel()
            raise

    def send_frame(self, frame: bytes, *, control: bool = False) -> None:
        """Any thread; what cannot be sent because the process is gone is dropped: its loss is told elsewhere."""
        channel = self.channel

        def send() -> None:
            if channel.view is not None and channel.view.incarnation is not None:
                channel.send(frame, control=control)

        self._notebook.loop.call(send)

    def send_interrupt(self) -> None:
        """Interrupt what runs over there. Any thread."""
        if self._channel is None:
            return
        message_id = uuid.uuid4().hex
        header = new_header("interrupt_request", like={"msg_id": message_id, "session": message_id})
        metadata = {"perijove": {"shell_seq": self._channel.last_shell_seq}}
        self.send_frame(make_frame("control", header, {}, metadata=metadata), control=True)

    def send_parcel(
        self,
        msg_type: str,
        like: Document,
        content: Document,
        parcel: Parcel,
        *,
        answers: bool = False,
        **perijove: Any,
    ) -> None:
        """Send a message with a parcel's buffers, the large ones ahead of it.

        Args:
            like: the header whose message this one stands for; with ``answers``, the one it answers, on stdin.
        """
        described: Sequence[Document]
        if size := large_bytes(parcel):
            with self._notebook.progress.transfer(f"to {self._spec}", size) as progress:
                described, inline = self.wait(put_large_buffers(self.channel, parcel, progress))
        else:
            described, inline = [{"inline": True} for _ in parcel.buffers], list(parcel.buffers)
        metadata = {"perijove": {**perijove, "buffers": described}}
        header = new_header(msg_type, like=fresh(like) if answers else like)
        channel, parent = ("stdin", like) if answers else ("shell", None)
        self.send_frame(make_frame(channel, header, content, parent=parent, metadata=metadata, buffers=inline))

    def received_parcel(self, message: Message) -> Parcel:
        """The parcel in a message, after fetching what travels beside it."""
        described = described_buffers(message)
        size = sum(int(description.get("size", 0)) for description in described)
        if size:
            with self._notebook.progress.transfer(f"from {self._spec}", size) as progress:
                buffers = self.wait(get_large_buffers(self.channel, described, message.buffers, progress))
        else:
            buffers = [bytearray(buffer) for buffer in message.buffers]
        return Parcel(message.content.get("manifest", {}), buffers)

    def note_taken(self, seq: int, size_bytes: int) -> None:
        """A frame has been handed on; the agent may send more."""
        if self._channel is None:
            return
        self._channel.note_taken(seq)
        self._untaken_bytes += size_bytes
        if self._untaken_bytes >= ACK_AT_BYTES:
            self._untaken_bytes = 0
            self._notebook.loop.call(self._channel.acknowledge)


def fresh(like: Document) -> Document:
    """A header like another, for a message of its own."""
    return {**like, "msg_id": uuid.uuid4().hex}
