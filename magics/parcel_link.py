"""Parcels of variables on a kernel's link: small buffers inside the message, large ones as blobs beside it.

Which is which stands in the message's metadata (docs/protocol.md §4). Transfers run on the client's loop; the
notebook's thread waits for them, with a progress bar when that takes over a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..wire.envelope import CHUNK_BYTES
from ..wire.jupyter_frames import Part
from ..wire.values.parcel import Parcel
from .messages import Document, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..client.channel import KernelChannel

INLINE_BYTES = CHUNK_BYTES
INLINE_TOTAL_BYTES = 8 * CHUNK_BYTES


async def put_large_buffers(
    channel: KernelChannel, parcel: Parcel, progress: Callable[[int], None]
) -> tuple[list[Document], list[Part]]:
    """Send a parcel's large buffers ahead; returns what to say of all buffers, and the ones to put into the message."""
    described: list[Document] = []
    inline: list[Part] = []
    room = INLINE_TOTAL_BYTES
    for buffer in parcel.buffers:
        view = memoryview(buffer).cast("B")
        if view.nbytes <= min(INLINE_BYTES, room):
            room -= view.nbytes
            described.append({"inline": True})
            inline.append(view)
        else:
            blob_id = await channel.blobs.put(view, progress)
            described.append({"blob": blob_id.hex(), "size": view.nbytes})
    return described, inline


async def get_large_buffers(
    channel: KernelChannel, described: Sequence[Document], inline: Sequence[Part], progress: Callable[[int], None]
) -> list[bytearray]:
    """All buffers of a parcel that arrived, each in writable memory of its own."""
    left = iter(inline)
    buffers = []
    for description in described:
        if "blob" in description:
            blob_id, size = bytes.fromhex(description["blob"]), int(description["size"])
            buffers.append(await channel.blobs.get(blob_id, size, progress))
        else:
            buffers.append(bytearray(next(left)))
    return buffers


def large_bytes(parcel: Parcel) -> int:
    """How much of a parcel travels as blobs, about."""
    return sum(size for size in (memoryview(buffer).nbytes for buffer in parcel.buffers) if size > INLINE_BYTES)


def described_buffers(message: Message) -> list[Document]:
    """What a message says of its parcel's buffers."""
    described = message.metadata.get("perijove", {}).get("buffers")
    return list(described) if described is not None else [{"inline": True} for _ in message.buffers]
