"""From a kernel without a GPU to one with, and back: what a client sees, and what it costs (docs/protocol.md §3)."""

from __future__ import annotations

from perijove.wire import link
from perijove.wire.models import KernelState

from .conftest import RunningBroker


async def test_attach_relay_release_and_bill(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel("H100")
    async with broker.agent().connected() as agent, broker.client(kernel_id).connected() as client:
        assert client.view is not None
        assert client.view.state is KernelState.DETACHED

        reply = await client.attach()
        assert reply.code == ""
        assert client.view.state is KernelState.ATTACHED
        assert client.view.gpus is not None
        assert client.view.gpus.model == "H100"
        assert client.view.gpus.simulated

        await client.send(b"print(1)")
        assert (await agent.data_link(kernel_id).recv())[44:] == b"print(1)"
        await agent.data_link(kernel_id).send((await _echo(client, b"1"))[0:])
        assert (await client.received())[44:] == b"1"

        assert (await client.ask(link.ReleaseRequest)).code == ""
        assert client.view.state is KernelState.SUSPENDED
        bill = await broker.bill()
        assert bill["total_nanodollars"] == 0
        assert bill["simulated_nanodollars"] == 1097 * (1 + 2 + 3)
        assert bill["leases"][0]["closed_at"] is not None


async def _echo(client: object, payload: bytes) -> bytes:
    from .conftest import RunningBroker  # noqa: F401
    from .peers import FakeClient, envelope

    assert isinstance(client, FakeClient)
    assert client.view is not None
    assert client.view.incarnation is not None
    return envelope(client.view.incarnation, payload)
