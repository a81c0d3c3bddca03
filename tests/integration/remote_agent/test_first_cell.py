"""An agent dials, is bound, runs a cell, lets go: the way of every attach (docs/protocol.md §3)."""

from __future__ import annotations

from perijove.wire.control import Activity, End, Ended, Hello, Release, Released

from .fake_broker import FakeBroker


async def test_a_bound_kernel_runs_a_cell_and_is_released(agent: Hello, broker: FakeBroker) -> None:
    gpu = agent.gpus[0]
    kernel_id, client = await broker.bind(gpus=[gpu.uuid])
    assert client.bound.resumed is False

    outcome = await client.run("import os; print(os.environ['PERIJOVE_SIMULATED_GPU']); 6 * 7")
    assert outcome.text == "H100\n"
    assert outcome.result == "42"
    assert outcome.reply["status"] == "ok"
    await broker.until(Activity, lambda activity: activity.busy)
    await broker.until(Activity, lambda activity: not activity.busy)

    await broker.send(Release(request_id="r1", kernel_id=kernel_id, lease_id=client.bound.lease_id, keep=True))
    released = await broker.until(Released)
    assert (released.request_id, released.kept) == ("r1", True)
    assert released.report.busy_ms >= 0

    await broker.send(End(request_id="e1", kernel_id=kernel_id))
    ended = await broker.until(Ended)
    assert ended.kernel_id == kernel_id


async def test_a_resumed_kernel_has_its_variables(agent: Hello, broker: FakeBroker) -> None:
    first, second = (gpu.uuid for gpu in agent.gpus)
    kernel_id, client = await broker.bind(gpus=[first])
    await client.run("answer = 42")
    await broker.send(Release(request_id="r1", kernel_id=kernel_id, lease_id=client.bound.lease_id, keep=True))
    assert (await broker.until(Released)).kept

    _, again = await broker.bind(kernel_id=kernel_id, incarnation=client.incarnation, gpus=[second])
    assert again is client
    assert client.bound.resumed
    assert (await client.run("answer")).result == "42"
