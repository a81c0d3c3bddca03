"""``/api/agents/link``: an agent's control link (docs/protocol.md §1)."""

from __future__ import annotations

from pydantic import ValidationError

from ...wire.control import Hello, Refused, from_agent
from ...wire.errors import IncompatibleVersion, NotAuthorized, PerijoveError
from ...wire.usage import Usage
from ...wire.versions import check_compatible
from ..broker import Broker
from ..core.events import AgentConnected, AgentLinkClosed, AgentSaid
from .link import Link, LinkClosed


async def run_agent_link(broker: Broker, link: Link, hello_text: str) -> None:
    """Serve an agent from its first message to its last."""
    try:
        hello = _read_hello(hello_text, broker.version)
        _check_owner(broker, link, hello)
    except PerijoveError as error:
        link.say(Refused(code=error.code, message=error.message).model_dump_json())
        link.close_soon(error.code)
        return
    broker.links[link.id] = link
    broker.happen(AgentConnected(link.id, link.owner, hello))
    try:
        while True:
            message = await link.receive()
            if isinstance(message, bytes):
                link.close_soon("a binary message on a control link")
                return
            said = from_agent.validate_json(message)
            if isinstance(said, Usage):
                broker.usage_came(hello.agent_id, said)
            else:
                broker.happen(AgentSaid(hello.agent_id, link.id, said))
    except ValidationError:
        link.close_soon("a message that is not of the protocol")
    except LinkClosed:
        return
    finally:
        del broker.links[link.id]
        broker.usage.gone(hello.agent_id)
        broker.happen(AgentLinkClosed(hello.agent_id, link.id))


def _read_hello(text: str, version: str) -> Hello:
    try:
        hello = from_agent.validate_json(text)
    except ValidationError:
        raise IncompatibleVersion("the first message of a link must be a hello with the protocol's version") from None
    if not isinstance(hello, Hello):
        raise IncompatibleVersion("the first message of a link must be a hello with the protocol's version")
    check_compatible(hello.protocol, who=f"the agent {hello.name}", program_version=version)
    return hello


def _check_owner(broker: Broker, link: Link, hello: Hello) -> None:
    """An agent's name belongs to the token that used it first, as long as the broker knows that agent."""
    known = broker.fleet.agents.get(hello.agent_id)
    if known is not None and known.owner and known.owner != link.owner:
        raise NotAuthorized(f"an agent {hello.agent_id!r} is known here under another token; use that, or another id")
