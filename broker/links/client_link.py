"""``/api/kernels/{id}/link``: one client, one kernel (docs/protocol.md §1)."""

from __future__ import annotations

from pydantic import ValidationError

from ...wire.errors import IncompatibleVersion, KernelNotFound, PerijoveError
from ...wire.link import ClientHello, LinkRefused, Watch, from_client
from ...wire.versions import check_compatible
from ..broker import Broker
from ..core.events import ClientLinkClosed, ClientLinkOpened, ClientSaid
from ..relay import is_envelope
from .link import Link, LinkClosed


async def run_client_link(broker: Broker, link: Link, kernel_id: str, hello: str) -> None:
    """Serve a client from its first message to its last."""
    try:
        session = _check_hello(hello, broker.version).session
        if broker.fleet.kernel(kernel_id) is None:
            raise KernelNotFound(f"there is no kernel {kernel_id} here; it may have been ended elsewhere")
    except PerijoveError as error:
        link.say(LinkRefused(code=error.code, message=error.message).model_dump_json())
        link.close_soon(error.code)
        return
    broker.links[link.id] = link
    broker.relay.client_link_opened(kernel_id, link)
    broker.happen(ClientLinkOpened(kernel_id, link.id, session))
    try:
        while True:
            message = await link.receive()
            if isinstance(message, bytes):
                if not is_envelope(message):
                    link.close_soon("a binary message that is no envelope")
                    return
                await broker.relay.from_client(kernel_id, link, message)
                continue
            said = from_client.validate_json(message)
            if isinstance(said, Watch):
                broker.watch(kernel_id, link, on=said.on)
            else:
                broker.happen(ClientSaid(kernel_id, link.id, said))
    except ValidationError:
        link.close_soon("a message that is not of the protocol")
    except LinkClosed:
        return
    finally:
        del broker.links[link.id]
        broker.watchers.left(kernel_id, link)
        broker.relay.client_link_closed(kernel_id, link)
        broker.happen(ClientLinkClosed(kernel_id, link.id))


def _check_hello(text: str, version: str) -> ClientHello:
    try:
        hello = from_client.validate_json(text)
    except ValidationError:
        raise IncompatibleVersion("the first message of a link must be a hello with the protocol's version") from None
    if not isinstance(hello, ClientHello):
        raise IncompatibleVersion("the first message of a link must be a hello with the protocol's version")
    check_compatible(hello.protocol, who="the client", program_version=version)
    return hello
