"""Who gets which GPU, and what those who wait are told."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.broker.core.clock import BootMs
from perijove.broker.core.schedule import Decision, Grant, Host, Refuse, Request, Wait, plan
from perijove.wire.gpu_spec import parse_gpu_spec
from perijove.wire.models import Gpu, GpuState

from .sim_agent import make_gpus

NOW = BootMs(1_000_000)


def host(name: str, *gpus: Gpu, used: int = 0, **options: object) -> Host:
    held = [gpu.model_copy(update={"state": GpuState.HELD}) for gpu in gpus[:used]]
    return Host(name, name, (*held, *gpus[used:]), **options)  # type: ignore[arg-type]


def request(kernel: str, spec: str = "H100", user: str = "ada", *, age_ms: int = 1000, **options: object) -> Request:
    return Request(kernel, user, parse_gpu_spec(spec), BootMs(NOW - age_ms), **options)  # type: ignore[arg-type]


def one(decisions: list[Decision], kernel: str) -> Decision:
    return next(decision for decision in decisions if decision.kernel_id == kernel)


def test_says_why_one_waits_and_where_in_line() -> None:
    full = host("a", *make_gpus("a", "H100", 8), used=8)
    decisions = plan([request("k1", age_ms=2000), request("k2")], [full], {}, NOW)
    assert one(decisions, "k1") == Wait("k1", "waiting for H100: 1st in line: 8 of 8 H100 in use")
    assert one(decisions, "k2") == Wait("k2", "waiting for H100: 2nd in line: 8 of 8 H100 in use")


def test_the_line_is_counted_per_kind_of_gpu() -> None:
    full = host("a", *make_gpus("a", "H100", 1), *make_gpus("a", "T4", 1), used=2)
    decisions = plan([request("k1", age_ms=2000), request("k2", "T4")], [full], {}, NOW)
    assert one(decisions, "k2") == Wait("k2", "waiting for T4: 1st in line: 1 of 1 T4 in use")


def test_an_unhealthy_gpu_is_given_to_nobody_and_the_line_says_why() -> None:
    well, ill = make_gpus("a", "H100", 2)
    ill = ill.model_copy(update={"state": GpuState.UNHEALTHY, "reason": "2 uncorrected memory errors"})
    decisions = plan([request("k1", age_ms=2000), request("k2")], [host("a", well, ill)], {}, NOW)
    granted = one(decisions, "k1")
    assert isinstance(granted, Grant)
    assert granted.gpus == (well,)
    waits = one(decisions, "k2")
    assert isinstance(waits, Wait)
    assert waits.reason.endswith("1 of 2 H100 in use, 1 unhealthy (2 uncorrected memory errors)")


def test_a_lost_gpu_is_none_and_the_refusal_says_what_became_of_it() -> None:
    (gpu,) = make_gpus("a", "H100", 1)
    lost = gpu.model_copy(update={"state": GpuState.LOST, "reason": "it fell off the bus"})
    refused = one(plan([request("k")], [host("a", lost)], {}, NOW), "k")
    assert isinstance(refused, Refuse)
    assert "there is no H100 here: this broker has 1 × H100 (a, lost: it fell off the bus)" in refused.message


def test_what_exists_nowhere_is_refused_with_what_to_do() -> None:
    refusal = one(plan([request("k", "B200:2")], [host("a", *make_gpus("a", "T4", 2))], {}, NOW), "k")
    assert isinstance(refusal, Refuse)
    assert refusal.code == "no_such_gpu"
    assert "there is no B200:2 here: this broker has 2 × T4 (a)" in refusal.message
    assert "perijove up --simulate B200:2" in refusal.message
    assert "perijove agent" in refusal.message


def test_more_than_any_one_host_has_is_refused() -> None:
    hosts = [host("a", *make_gpus("a", "H100", 2)), host("b", *make_gpus("b", "H100", 2))]
    assert isinstance(one(plan([request("k", "H100:4")], hosts, {}, NOW), "k"), Refuse)


def test_alternatives_are_tried_in_the_users_order() -> None:
    hosts = [host("a", *make_gpus("a", "T4", 1)), host("b", *make_gpus("b", "H100", 1))]
    first = one(plan([request("k", "H100|T4")], hosts, {}, NOW), "k")
    assert isinstance(first, Grant)
    assert first.agent_id == "b"
    hosts[1] = host("b", *make_gpus("b", "H100", 1), used=1)
    second = one(plan([request("k", "H100|T4")], hosts, {}, NOW), "k")
    assert isinstance(second, Grant)
    assert second.agent_id == "a"


def test_a_simulated_gpu_never_serves_where_a_real_one_is_configured() -> None:
    real = host("real", *make_gpus("real", "H100", 1), used=1)
    fake = host("fake", *make_gpus("fake", "H100", 1, simulated=True))
    assert isinstance(one(plan([request("k")], [real, fake], {}, NOW), "k"), Wait)
    away = replace(real, connected=False)
    assert isinstance(one(plan([request("k")], [away, fake], {}, NOW), "k"), Wait)
    assert isinstance(one(plan([request("k")], [fake], {}, NOW), "k"), Grant)


def test_cpu_needs_no_gpu() -> None:
    decision = one(plan([request("k", "cpu")], [host("a")], {}, NOW), "k")
    assert decision == Grant("k", "a", ())
    refusal = one(plan([request("k", "cpu")], [], {}, NOW), "k")
    assert isinstance(refusal, Refuse)


def test_memory_and_any_take_the_smallest_that_does() -> None:
    hosts = [host("a", *make_gpus("a", "H100", 1)), host("b", *make_gpus("b", "T4", 1))]
    for spec, wanted in (("any", "b"), ("12GB", "b"), ("40GB", "a")):
        decision = one(plan([request("k", spec)], hosts, {}, NOW), "k")
        assert isinstance(decision, Grant)
        assert decision.agent_id == wanted


def test_the_tightest_fit_leaves_room_for_larger_requests() -> None:
    hosts = [host("roomy", *make_gpus("roomy", "H100", 4)), host("tight", *make_gpus("tight", "H100", 4), used=3)]
    decision = one(plan([request("k")], hosts, {}, NOW), "k")
    assert isinstance(decision, Grant)
    assert decision.agent_id == "tight"


def test_whoever_had_less_goes_first_then_whoever_waits_longer() -> None:
    hosts = [host("a", *make_gpus("a", "H100", 1), isolated=True)]
    greedy, modest = request("greedy", user="ada", age_ms=9000), request("modest", user="bob")
    decisions = plan([greedy, modest], hosts, {"ada": 5000.0}, NOW)
    assert isinstance(one(decisions, "modest"), Grant)
    assert one(decisions, "greedy") == Wait("greedy", "waiting for H100: 1st in line: 1 of 1 H100 in use")
    assert isinstance(one(plan([greedy, modest], hosts, {}, NOW), "greedy"), Grant)


def test_within_one_plan_gpus_go_round_the_users() -> None:
    hosts = [host("a", *make_gpus("a", "H100", 2), isolated=True)]
    requests = [request("a1", age_ms=9000), request("a2", age_ms=8000), request("b1", user="bob")]
    decisions = plan(requests, hosts, {}, NOW)
    assert {d.kernel_id for d in decisions if isinstance(d, Grant)} == {"a1", "b1"}


def test_the_oldest_request_for_several_reserves_and_others_fill_the_rest() -> None:
    two_free = host("a", *make_gpus("a", "H100", 4), used=2)
    one_free = host("b", *make_gpus("b", "H100", 2), used=1)
    large, small, smaller = request("large", "H100:4", age_ms=9000), request("small"), request("smaller", age_ms=500)
    decisions = plan([large, small, smaller], [two_free, one_free], {}, NOW)
    granted = one(decisions, "small")
    assert isinstance(granted, Grant)
    assert granted.agent_id == "b"
    waiting = one(decisions, "smaller")
    assert isinstance(waiting, Wait)
    assert "the rest is kept for a request for several" in waiting.reason
    large_waits = one(decisions, "large")
    assert isinstance(large_waits, Wait)
    assert "and 4 are needed on one host" in large_waits.reason


def test_without_isolation_a_host_serves_one_user_at_a_time() -> None:
    mine = host("a", *make_gpus("a", "H100", 2), used=1, users=frozenset({"ada"}))
    decision = one(plan([request("k", user="bob")], [mine], {}, NOW), "k")
    assert isinstance(decision, Wait)
    assert "1 of 2 H100 in use" in decision.reason
    assert "ada" not in decision.reason
    assert isinstance(one(plan([request("k", user="ada")], [mine], {}, NOW), "k"), Grant)
    shared = replace(mine, isolated=True)
    assert isinstance(one(plan([request("k", user="bob")], [shared], {}, NOW), "k"), Grant)


def test_two_users_never_land_on_one_host_in_one_plan() -> None:
    empty = host("a", *make_gpus("a", "H100", 2))
    decisions = plan([request("k1"), request("k2", user="bob")], [empty], {}, NOW)
    assert sum(isinstance(decision, Grant) for decision in decisions) == 1


def test_a_suspended_kernel_goes_home_or_waits_for_home_a_while() -> None:
    home, other = host("home", *make_gpus("home", "H100", 1)), host("other", *make_gpus("other", "H100", 1))
    waiting = request("k", home="home", home_until=BootMs(NOW + 5000))
    went = one(plan([waiting], [other, home], {}, NOW), "k")
    assert isinstance(went, Grant)
    assert went.agent_id == "home"
    full = replace(home, gpus=tuple(g.model_copy(update={"state": GpuState.HELD}) for g in home.gpus))
    stays = one(plan([waiting], [other, full], {}, NOW), "k")
    assert stays == Wait(
        "k", "waiting for H100: 1st in line: home, which has its variables, has no free GPU", BootMs(NOW + 5000)
    )
    late = one(plan([waiting], [other, full], {}, BootMs(NOW + 5000)), "k")
    assert isinstance(late, Grant)
    assert late.agent_id == "other"


def test_who_is_away_gets_nothing() -> None:
    decision = one(plan([request("k", present=False)], [host("a", *make_gpus("a", "H100", 1))], {}, NOW), "k")
    assert isinstance(decision, Wait)
    assert "its notebook is away" in decision.reason


def test_what_may_still_appear_is_waited_for_a_moment() -> None:
    soon = request("k", settles_at=BootMs(NOW + 100))
    assert one(plan([soon], [], {}, NOW), "k") == Wait(
        "k", "waiting for H100: 1st in line: no agent has reported one yet", BootMs(NOW + 100)
    )
    assert isinstance(one(plan([soon], [], {}, BootMs(NOW + 100)), "k"), Refuse)


@pytest.mark.parametrize("state", [GpuState.FOREIGN, GpuState.HELD, GpuState.LOST])
def test_only_free_gpus_are_granted(state: GpuState) -> None:
    gpu = make_gpus("a", "H100", 1)[0].model_copy(update={"state": state})
    assert not isinstance(one(plan([request("k")], [host("a", gpu)], {}, NOW), "k"), Grant)


specs = st.sampled_from(["H100", "H100:2", "H100:3", "T4", "T4|H100", "any", "40GB", "cpu", "B200"])


@given(
    wishes=st.lists(st.tuples(specs, st.sampled_from(["ada", "bob", "cleo"]), st.integers(0, 5000)), max_size=12),
    sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=4),
    used=st.integers(0, 3),
)
def test_every_request_is_decided_once_and_no_gpu_granted_twice(
    wishes: list[tuple[str, str, int]], sizes: list[tuple[int, int, bool]], used: int
) -> None:
    requests = [request(f"k{i}", spec, user, age_ms=age) for i, (spec, user, age) in enumerate(wishes)]
    hosts = [
        host(f"h{i}", *make_gpus(f"h{i}", "H100", h100), *make_gpus(f"h{i}", "T4", t4), used=used, isolated=isolated)
        for i, (h100, t4, isolated) in enumerate(sizes)
    ]
    decisions = plan(requests, hosts, {}, NOW)
    assert sorted(d.kernel_id for d in decisions) == sorted(r.kernel_id for r in requests)
    grants = [decision for decision in decisions if isinstance(decision, Grant)]
    granted = [(grant.agent_id, gpu.uuid) for grant in grants for gpu in grant.gpus]
    assert len(granted) == len(set(granted))
    by_kernel = {r.kernel_id: r for r in requests}
    for grant in grants:
        spec = by_kernel[grant.kernel_id].spec
        assert len({gpu.model for gpu in grant.gpus}) <= 1
        assert spec.is_cpu or any(
            choice.count == len(grant.gpus) and all(choice.accepts(g.model, g.memory_bytes) for g in grant.gpus)
            for choice in spec.choices
        )
    assert plan(requests, hosts, {}, NOW) == decisions, "the same question has the same answer"


def test_a_large_fleet_is_planned_in_no_time() -> None:
    hosts = [host(f"h{i}", *make_gpus(f"h{i}", "H100", 8), used=8, isolated=True) for i in range(200)]
    requests = [request(f"k{i}", user=f"u{i % 50}", age_ms=i) for i in range(500)]
    started = time.perf_counter()
    plan(requests, hosts, {}, NOW)
    assert time.perf_counter() - started < 2.0


def mig_instances(agent: str, count: int) -> list[Gpu]:
    (whole,) = make_gpus(agent, "H100", 1)
    return [
        whole.model_copy(
            update={
                "uuid": f"MIG-{agent}-{part}",
                "model": "H100-1g.10gb",
                "memory_bytes": 9856 << 20,
                "part_of": whole.uuid,
                "part": part,
            }
        )
        for part in range(count)
    ]


def test_who_asks_for_a_gpu_gets_no_part_of_one() -> None:
    hosts = [host("a", *mig_instances("a", 7)), host("b", *make_gpus("b", "H100", 1), used=1)]
    specs = {"whole": "H100", "part": "H100-1g.10gb", "memory": "10GB", "several": "10GB:2", "any": "any"}
    decisions = plan([request(name, spec) for name, spec in specs.items()], hosts, {}, NOW)
    waits = one(decisions, "whole")
    assert isinstance(waits, Wait)
    assert waits.reason == "waiting for H100: 1st in line: 1 of 1 H100 in use"
    for name in ("part", "memory", "any"):
        granted = one(decisions, name)
        assert isinstance(granted, Grant)
        assert [gpu.model for gpu in granted.gpus] == ["H100-1g.10gb"]
    refused = one(decisions, "several")
    assert isinstance(refused, Refuse), "CUDA shows a process only one instance"
    assert "this broker has 1 × H100 (b), 7 × H100-1g.10gb (a)" in refused.message
