"""The panel's model: what it knows, when it speaks, and what it leaves where no widget can run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from perijove.wire.models import BudgetScope, BudgetView, GrantedGpus, KernelState, KernelView, LeaseView, SetBy
from perijove.wire.panel.history import KEPT
from perijove.wire.panel.panel import LEAST_PAUSE_S, VIEW_MIME, Panel, Wish, script
from perijove.wire.usage import GpuUsage, HostSample, KernelUsage, UsageAt

NOW = "2026-11-25T12:00:00.000000Z"
SECOND_OF_H100 = 1_097_000  # nano-dollars
HOST = HostSample(cpu_percent=20, cores=8, memory_used_bytes=2**30, memory_total_bytes=2**34)


def attached(
    *, busy: bool = False, simulated: bool = False, budget: int | None = None, more: Sequence[BudgetView] = ()
) -> KernelView:
    return KernelView(
        id="k",
        name="n",
        state=KernelState.ATTACHED,
        gpu_spec="any",
        incarnation="00",
        gpus=GrantedGpus(model="H100", count=1, simulated=simulated, uuids=["G"], agent_id="a", agent_name="host-a"),
        lease=LeaseView(id="l", price_microdollars_per_second=1097, count=1, busy_ms=2000),
        busy=busy,
        release_in_s=None if busy else 60.0,
        spent_nanodollars=10 * SECOND_OF_H100,
        spent_simulated_nanodollars=10 * SECOND_OF_H100 if simulated else 0,
        budget_nanodollars=budget,
        budgets=[] if budget is None else [of(BudgetScope.KERNEL, budget, simulated), *more],
    )


def of(scope: BudgetScope, limit: int, simulated: bool = False, set_by: SetBy = SetBy.USER) -> BudgetView:
    spent = 10 * SECOND_OF_H100
    return BudgetView(
        scope=scope, limit_nanodollars=limit, spent_nanodollars=spent, simulated=simulated, set_by=set_by, by="ann"
    )


def usage(*seconds: int, live: bool = True) -> KernelUsage:
    gpu = GpuUsage(
        uuid="G",
        utilization_percent=80.0,
        memory_used_bytes=3 * 2**30,
        memory_total_bytes=80 * 2**30,
        own_memory_bytes=1,
    )
    samples = [
        UsageAt(
            at=f"2026-11-25T12:{s // 60:02}:{s % 60:02}.000Z", processes=1, cpu_percent=50, memory_bytes=9, gpus=[gpu]
        )
        for s in seconds
    ]
    return KernelUsage(kernel_id="k", live=live, host=HOST, samples=samples)


@pytest.fixture
def panel() -> Panel:
    return Panel("model-1", "H100", lambda: NOW)


def now_of(panel: Panel, now_s: float) -> dict:
    return dict(panel.take_update(now_s)["state"]["now"])


def test_what_time_changes_is_counted_up_to_the_moment_it_is_told(panel: Panel) -> None:
    panel.view_changed(attached(budget=100 * SECOND_OF_H100), 100.0)
    told = now_of(panel, 105.0)
    assert told["money"]["spent"] == 15 * SECOND_OF_H100
    assert told["money"]["per_s"] == SECOND_OF_H100
    assert told["release_in_s"] == 55.0
    (budget,) = told["budgets"]
    assert budget == {
        "scope": "kernel",
        "limit": 100 * SECOND_OF_H100,
        "spent": 15 * SECOND_OF_H100,
        "simulated": False,
        "runs": True,
        "set_by": "",
    }
    assert (told["asked"], told["model"], told["as_of"]) == ("any", "H100", NOW)


def test_a_users_budgets_count_only_their_kind_of_money(panel: Panel) -> None:
    month, other = of(BudgetScope.MONTH, 10**12, set_by=SetBy.ADMIN), of(BudgetScope.USER, 10**12, simulated=True)
    panel.view_changed(attached(budget=10**12, more=[month, other]), 100.0)
    _, real, simulated = now_of(panel, 105.0)["budgets"]
    assert (real["spent"], real["runs"], real["set_by"]) == (15 * SECOND_OF_H100, True, "ann")
    assert (simulated["spent"], simulated["runs"], simulated["set_by"]) == (10 * SECOND_OF_H100, False, "")


def test_what_is_not_held_costs_nothing_further(panel: Panel) -> None:
    released = attached().model_copy(update={"state": KernelState.SUSPENDED, "lease": None, "gpus": None})
    panel.view_changed(released, 100.0)
    told = now_of(panel, 200.0)
    assert told["money"]["per_s"] == 0
    assert told["money"]["spent"] == 10 * SECOND_OF_H100


def test_news_waits_until_half_a_second_has_passed_since_the_last(panel: Panel) -> None:
    assert panel.due_in_s(0.0) is None, "there is nothing to tell"
    panel.view_changed(attached(), 10.0)
    assert panel.due_in_s(10.0) == 0.0
    panel.take_update(10.0)
    assert panel.due_in_s(10.1) is None
    panel.usage_received(usage(1), 10.1)
    due_s = panel.due_in_s(10.1)
    assert due_s == pytest.approx(LEAST_PAUSE_S - 0.1)
    panel.view_changed(attached(busy=True), 10.2)
    assert panel.due_in_s(10.2) == pytest.approx(LEAST_PAUSE_S - 0.2), "both together"


def test_samples_that_come_again_are_in_the_history_once(panel: Panel) -> None:
    panel.view_changed(attached(), 0.0)
    panel.usage_received(usage(1, 2, 3), 0.0)
    panel.usage_received(usage(2, 3, 4), 1.0)
    history = panel.state(1.0)["history"]
    assert [line[0][17:19] for line in history] == ["01", "02", "03", "04"]
    assert history[0][2] == [["G", 80.0, 3 * 2**30, 1, None, None]]
    panel.usage_received(usage(*range(5, 5 + 2 * KEPT)), 2.0)
    assert len(panel.state(2.0)["history"]) == KEPT


def test_figures_that_are_old_are_not_shown_as_if_they_were_new(panel: Panel) -> None:
    panel.view_changed(attached(), 0.0)
    panel.usage_received(usage(1), 0.0)
    assert now_of(panel, 1.0)["sample"]["gpus"][0]["utilization"] == 80.0
    panel.view_changed(attached(), 60.0)
    told = now_of(panel, 60.0)
    assert told["sample"] is None
    assert told["host"] is None


def test_it_says_that_the_broker_is_out_of_reach(panel: Panel) -> None:
    panel.view_changed(attached(), 0.0)
    panel.take_update(0.0)
    panel.connection_changed(True)
    assert panel.due_in_s(1.0) is None, "it was"
    panel.connection_changed(False)
    assert now_of(panel, 1.0)["connected"] is False
    assert "the broker is out of reach" in panel.bundle(1.0)["text/plain"]


@pytest.mark.parametrize("wish", Wish)
def test_its_buttons(panel: Panel, wish: Wish) -> None:
    assert panel.read({"method": "custom", "content": {"wish": wish.value, "number": "1"}}) is wish
    panel.wish_ended(wish, "there is no GPU to have")
    assert now_of(panel, 0.0)["said"] == "there is no GPU to have"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"method": "update", "state": {"now": {"state": "attached"}}},
        {"method": "custom", "content": {"wish": "format the disk"}},
        {"method": "custom", "content": "release"},
        {"method": "custom", "content": {"wish": ["release"]}},
    ],
)
def test_what_else_a_page_says_does_nothing(panel: Panel, data: dict) -> None:
    assert panel.read(data) is None


def test_where_no_widget_runs_a_line_says_how_it_was_and_when(panel: Panel) -> None:
    panel.view_changed(attached(simulated=True, busy=True), 0.0)
    panel.usage_received(usage(1), 0.0)
    bundle = panel.bundle(2.0)
    assert bundle["text/plain"] == (
        "H100 (simulated) on host-a · busy · 80 % used · 3.0 of 80 GiB · $0.0132 simulated so far · "
        "$3.9492 per hour · as of 2026-11-25 12:00:00 UTC"
    )
    assert "as of" in bundle["text/html"]
    assert bundle[VIEW_MIME]["model_id"] == "model-1"


def test_before_anything_has_run(panel: Panel) -> None:
    assert "nothing is billed" in panel.bundle(0.0)["text/plain"]
    assert "state" not in now_of(panel, 0.0)


def test_all_of_it_is_plain_json_and_small(panel: Panel) -> None:
    panel.view_changed(attached(), 0.0)
    panel.usage_received(usage(*range(1, 200)), 0.0)
    assert len(json.dumps(panel.take_update(1.0))) < 2_000, "twice a second, for each panel"
    content, metadata = panel.opening(1.0)
    assert json.loads(json.dumps(content))["data"]["state"]["_model_module"] == "anywidget"
    assert metadata == {"version": "2.1.0"}


def test_the_script_fetches_nothing_and_node_can_read_it(tmp_path: Path) -> None:
    text = script()
    for word in ("import ", "fetch(", "http", "innerHTML", "eval("):
        assert word not in text.replace("http://www.w3.org/2000/svg", ""), word
    module = tmp_path / "panel.mjs"
    module.write_text(text)
    try:
        subprocess.run(["node", "--check", str(module)], check=True, timeout=30, capture_output=True)
    except FileNotFoundError:
        pytest.skip("node is not installed here")
