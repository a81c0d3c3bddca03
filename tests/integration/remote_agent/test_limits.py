"""A lease ends when what is left of a budget is used up, by the agent's own clock (docs/billing.md, Budgets)."""

from __future__ import annotations

import pytest
from perijove.wire.control import LIMIT_GRACE_MS, Hello, LeaseReport, Limit, Released

from .fake_broker import FakeBroker


def total(report: LeaseReport) -> int:
    return report.starting_ms + report.busy_ms + report.idle_ms


async def test_an_idle_kernel_is_suspended_at_its_limit(agent: Hello, broker: FakeBroker) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid], limit_ms=500)
    released = await broker.until(Released)
    assert (released.kernel_id, released.kept, released.reason) == (kernel_id, True, "budget")
    assert released.report.limit_ms == 500, "the broker learns what its agents go by"
    assert 500 <= total(released.report) <= 500 + LIMIT_GRACE_MS
    _, again = await broker.bind(kernel_id=kernel_id, incarnation=client.incarnation, gpus=[agent.gpus[0].uuid])
    assert again.bound.resumed


async def test_a_running_cell_is_stopped_is_told_why_and_the_process_lives(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid], limit_ms=1_500)
    outcome = await client.run("import time; time.sleep(600)")
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert outcome.types.index("perijove_stopping") < outcome.types.index("error")
    released = await broker.until(Released)
    assert (released.kept, released.reason) == (True, "budget")
    assert 1_500 <= total(released.report) <= 1_500 + LIMIT_GRACE_MS


async def test_a_cell_that_will_not_stop_ends_with_its_process(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid], limit_ms=1_500)
    await client.execute("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")
    released = await broker.until(Released)
    assert not released.kept
    assert released.why_lost == "its budget was used up, and a cell was running and did not stop"
    assert total(released.report) <= 1_500 + LIMIT_GRACE_MS


async def test_the_limit_holds_while_the_broker_is_away(agent: Hello, broker: FakeBroker) -> None:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid], limit_ms=1_500)
    await client.execute("import time; time.sleep(600)")
    await broker.stop()
    await broker.start()
    released = await broker.until(Released)
    assert released.reason == "budget"
    assert total(released.report) <= 1_500 + LIMIT_GRACE_MS


@pytest.mark.parametrize("lifted", [None, 60_000])
async def test_a_limit_can_be_lifted_and_set_below_what_was_used(
    agent: Hello, broker: FakeBroker, lifted: int | None
) -> None:
    kernel_id, client = await broker.bind(gpus=[agent.gpus[0].uuid], limit_ms=1_000)
    lease_id = client.bound.lease_id
    broker.limits_ms.pop(lease_id)
    if lifted is not None:
        broker.limits_ms[lease_id] = lifted
    await broker.send(Limit(kernel_id=kernel_id, lease_id=lease_id, limit_ms=lifted))
    assert (await client.run("import time; time.sleep(1.5); 'through'")).result == "'through'"
    broker.limits_ms[lease_id] = 100
    await broker.send(Limit(kernel_id=kernel_id, lease_id=lease_id, limit_ms=100))
    released = await broker.until(Released)
    assert (released.kept, released.reason) == (True, "budget")
    assert total(released.report) >= 1_500
