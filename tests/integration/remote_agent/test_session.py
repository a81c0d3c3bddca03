"""What a process says names the session of the front-end it works for (docs/protocol.md §5)."""

from __future__ import annotations

import json

from perijove.wire.control import Hello, Restart

from .fake_broker import Bound, FakeBroker, FakeClient


async def sessions_of(client: FakeClient, msg_id: str) -> set[str]:
    return {json.loads(bytes(frame.header))["session"] async for _, _, _, frame in client.answers(msg_id)}


async def test_every_message_names_the_session_that_came_with_the_bind(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid], session="of the front-end")
    assert await sessions_of(client, await client.execute("print('on')\n1")) == {"of the front-end"}
    interrupt = await client.request("control", "interrupt_request", {})
    assert await sessions_of(client, interrupt) == {"of the front-end"}, "the agent's own answers, too"

    assert client.bound is not None
    restart = Restart(
        request_id="r", kernel_id=kernel_id, lease_id=client.bound.lease_id, session="of the next front-end"
    )
    await broker.send(restart)
    bound = await broker.until(Bound, lambda message: message.request_id == "r")
    successor = broker.clients[bound.incarnation] = FakeClient(broker, bound.incarnation)
    await successor.resume()
    assert await sessions_of(successor, await successor.execute("1")) == {"of the next front-end"}


async def test_without_one_the_process_keeps_its_own(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    (session,) = await sessions_of(client, await client.execute("1"))
    assert session
    assert await sessions_of(client, await client.request("control", "interrupt_request", {})) == {session}
