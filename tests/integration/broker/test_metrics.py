"""/metrics of a real broker: who may read it, and that it says what happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import httpx
import pytest
from perijove.wire import link
from perijove.wire.envelope import Kind
from perijove.wire.models import KernelState
from prometheus_client.parser import text_string_to_metric_families

from .conftest import RunningBroker
from .peers import FakeAgent, envelope
from .test_usage import until

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningBroker]]


class Scrape:
    """One answer, read by Prometheus's own parser."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.names = {family.name for family in families}
        self._samples = [sample for family in families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name with these labels."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(sample.labels) for sample in self._samples if sample.name == name]


async def scrape(broker: RunningBroker) -> Scrape:
    response = await broker.as_("root").get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    return Scrape(response.text)


@pytest.mark.parametrize(("who", "status"), [("ada", 403), ("agent", 403), (None, 401), ("root", 200)])
async def test_only_an_admin_reads_metrics(broker: RunningBroker, who: str | None, status: int) -> None:
    if who is None:
        async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
            response = await http.get("/metrics")
    else:
        response = await broker.as_(who).get("/metrics")
    assert response.status_code == status
    assert ("perijove_" in response.text) == (status == 200)


async def test_without_a_token_only_from_this_machine_where_that_was_switched_on(start: Start) -> None:
    async with (
        start(metrics_without_token=True) as broker,
        httpx.AsyncClient(base_url=broker.url, trust_env=False) as http,
    ):
        assert (await http.get("/metrics")).status_code == 200
        through_a_proxy = await http.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
        assert through_a_proxy.status_code == 401


async def test_openmetrics_for_who_asks_for_it(broker: RunningBroker) -> None:
    response = await broker.as_("root").get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_what_happened_is_counted(broker: RunningBroker) -> None:
    async with FakeAgent(broker.url, broker.tokens["agent"]).connected() as agent:
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            assert (await client.attach()).code == ""
            before = await scrape(broker)
            assert before.value("perijove_leases_open", gpu="H100", simulated="true") == 1
            assert before.value("perijove_kernels", state="attached") == 1
            assert before.value("perijove_spend_rate_dollars_per_second", simulated="true") > 0
            for phase in ("queued", "starting", "total"):
                assert before.value("perijove_attach_duration_seconds_count", phase=phase, gpu="H100") == 1
            await client.send(b"a cell")
            await agent.data_link(kernel_id).recv()
            incarnation = agent.kernels[kernel_id]
            await agent.data_link(kernel_id).send(envelope(incarnation, b"output"))
            await client.received()
            assert (await client.ask(link.ReleaseRequest)).code == ""
            await client.became(KernelState.SUSPENDED)
        after = await scrape(broker)
    assert after.value("perijove_leases_opened_total", gpu="H100", simulated="true") == 1
    assert after.value("perijove_leases_closed_total", gpu="H100", simulated="true", confirmed="true") == 1
    assert after.value("perijove_leases_open") == 0
    bill = await broker.bill()
    assert round(after.value("perijove_spend_dollars_total", simulated="true") * 1e9) == bill["simulated_nanodollars"]
    assert after.value("perijove_spend_dollars_total", simulated="false") == bill["total_nanodollars"] == 0
    assert after.value("perijove_lease_seconds_total", phase="busy") == pytest.approx(0.002)
    assert after.value("perijove_relay_messages_total", direction="to_process") == 1
    assert after.value("perijove_relay_bytes_total", direction="to_process") == len(envelope(incarnation, b"a cell"))
    assert after.value("perijove_relay_bytes_total", direction="to_client") == len(envelope(incarnation, b"output"))
    assert after.value("perijove_relay_messages_dropped_total") == 0
    assert after.value("perijove_ledger_delay_seconds_count") > 0
    assert after.value("perijove_ledger_failures_total") == 0
    assert after.value("perijove_links_opened_total", kind="client", how="first") == 1


async def test_requests_are_counted_by_route_and_never_by_what_stands_in_it(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    await broker.as_("ada").get(f"/api/kernels/{kernel_id}")
    await broker.as_("ada").get("/api/kernels/nobody")
    await broker.as_("ada").get("/secret-words")
    await broker.as_("ada").request("BREW", "/api/kernels")
    found = await scrape(broker)
    route = "/api/kernels/{kernel_id}"
    assert found.value("perijove_http_requests_total", method="GET", route=route, status="200") == 1
    assert found.value("perijove_http_requests_total", method="GET", route=route, status="404") == 1
    assert found.value("perijove_http_requests_total", route="none", status="404") == 1
    assert found.value("perijove_http_requests_total", method="other") == 1
    assert not any(
        "secret" in str(labels) or kernel_id in str(labels) for labels in found.labels("perijove_http_requests_total")
    )


async def test_a_missing_message_is_seen(broker: RunningBroker) -> None:
    """What a client gets after it has resumed follows on; the counter would tell if it did not."""
    async with FakeAgent(broker.url, broker.tokens["agent"]).connected() as agent:
        kernel_id = await broker.kernel()
        async with broker.client(kernel_id).connected() as client:
            await client.attach()
            incarnation, data = agent.kernels[kernel_id], agent.data_link(kernel_id)
            await data.send(envelope(incarnation, b"", kind=Kind.RESUMED))
            for seq in (7, 8, 9):
                await data.send(envelope(incarnation, b"output", seq=seq))
            for _ in range(4):
                await client.received()
            assert (await scrape(broker)).value("perijove_relay_messages_dropped_total") == 0
            await data.send(envelope(incarnation, b"output", seq=12))
            await client.received()
            assert (await scrape(broker)).value("perijove_relay_messages_dropped_total") == 2


async def test_agents_that_come_again_are_told_from_new_ones(broker: RunningBroker) -> None:
    agent = FakeAgent(broker.url, broker.tokens["agent"])
    for _ in range(2):
        async with agent.connected():
            found = await scrape(broker)
            assert found.value("perijove_agents", state="connected") == 1
            assert found.value("perijove_gpus", gpu="H100", state="free", simulated="true") == 1
    found = await scrape(broker)
    assert found.value("perijove_links_opened_total", kind="agent", how="first") == 1
    assert found.value("perijove_links_opened_total", kind="agent", how="again") == 1


async def test_agents_are_told_by_what_they_take_on(broker: RunningBroker) -> None:
    async def states() -> dict[str, float]:
        found = await scrape(broker)
        names = ("connected", "draining", "drained", "away")
        return {state: count for state in names if (count := found.value("perijove_agents", state=state))}

    async with broker.agent().connected() as agent, broker.client(await broker.kernel()).connected() as client:
        await client.attach()
        assert await states() == {"connected": 1}
        assert (await broker.as_("root").post(f"/api/agents/{agent.id}/drain")).status_code < 300
        assert await states() == {"draining": 1}
        await client.ask(link.ReleaseRequest)
        await until(states, lambda found: found == {"drained": 1})
    await until(states, lambda found: "drained" not in found)


async def test_who_waits_is_shown_by_what_they_ask_for(broker: RunningBroker) -> None:
    async with FakeAgent(broker.url, broker.tokens["agent"]).connected():
        first, second = await broker.kernel(), await broker.kernel()
        async with broker.client(first).connected() as one, broker.client(second).connected() as two:
            await one.attach()
            await two.say(link.AttachRequest(request_id="r"))
            await two.became(KernelState.QUEUED)
            found = await scrape(broker)
            assert found.value("perijove_queue_kernels", spec="H100") == 1
            assert found.value("perijove_kernels", state="queued") == 1


async def test_every_broker_counts_for_itself(start: Start) -> None:
    for _ in range(2):
        async with start() as broker:
            assert (await scrape(broker)).value("perijove_http_requests_total", route="/api/kernels") == 0
            await broker.kernel()
            assert (await scrape(broker)).value("perijove_http_requests_total", route="/api/kernels") == 1
