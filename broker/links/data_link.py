"""``/api/agents/processes/{incarnation}/link``: the envelopes of one kernel process (docs/protocol.md §1)."""

from __future__ import annotations

from ...wire.envelope import incarnation_of
from ..broker import Broker
from ..relay import is_envelope
from .link import Link, LinkClosed


async def run_data_link(broker: Broker, link: Link, incarnation: bytes) -> None:
    """Relay what the process says, from when its link opens until it closes."""
    broker.links[link.id] = link
    try:
        if not await broker.relay.data_link_opened(incarnation, link):
            link.close_soon("this process belongs to an agent with another token")
            return
        while True:
            message = await link.receive()
            if not isinstance(message, bytes) or not is_envelope(message) or incarnation_of(message) != incarnation:
                link.close_soon("a message that is no envelope of this process")
                return
            await broker.relay.from_process(incarnation, link, message)
    except LinkClosed:
        return
    finally:
        del broker.links[link.id]
        broker.relay.data_link_closed(incarnation, link)
