"""Real GPUs as the driver's library tells of them: a stand-in library, compiled here, is the lowest level there is."""

from __future__ import annotations

import pytest

from .nvml_programs import A100, H100, Program, asynchronously


def test_the_inventory_names_models_and_memory(run: Program) -> None:
    gpus = run("print(json.dumps([gpu.model_dump(mode='json') for gpu in Nvidia().gpus()]))")
    assert [(gpu["uuid"], gpu["model"], gpu["simulated"]) for gpu in gpus] == [
        (H100, "H100", False),
        (A100, "A100-40GB", False),
    ]
    assert gpus[0]["memory_bytes"] == 81559 << 20
    assert gpus[0]["state"] == "free"


def test_without_a_driver_there_are_no_gpus_and_no_error(run: Program) -> None:
    assert run("import os; del os.environ['NVML_STAND_IN']; print(json.dumps(Nvidia().gpus()))") == []


def test_a_gpu_is_bound_by_uuid_and_its_lock_is_kept_by_the_guard(run: Program) -> None:
    shown = run(
        asynchronously("""
await pool.refresh()
hold = await pool.hold([A100])
held = [list(Keeper.held), [g.state.value for g in pool.view()], await refused([A100])]
pool.give_back(hold)
print(json.dumps([hold.environment, held, Keeper.held, [g.state.value for g in pool.view()]]))
""")
    )
    environment, (kept, states, refusal), kept_after, states_after = shown
    assert environment == {
        "CUDA_VISIBLE_DEVICES": A100,
        "NVIDIA_VISIBLE_DEVICES": A100,
        "PERIJOVE_SIMULATED_GPU": None,
    }
    assert (kept, states) == ([A100], ["free", "held"])
    assert "held by another kernel" in refusal
    assert (kept_after, states_after) == ([], ["free", "free"])


def test_a_gpu_that_others_use_is_foreign_and_not_bound(run: Program) -> None:
    refusal, changes = run(
        asynchronously("""
await pool.refresh()
state(BOTH.replace("|0|0|", "|0|0|4242", 1))
refusal = await refused([H100, A100])
await pool.refresh()
print(json.dumps([refusal, changes]))
""")
    )
    assert "in use by processes of others (process 4242)" in refusal
    assert changes[-1] == ["foreign", "free"]


def test_a_lock_of_another_agent_makes_a_gpu_foreign(run: Program) -> None:
    refusal, changes = run(
        asynchronously("""
from perijove.remote_agent.gpus.gpu_lock import acquire
await pool.refresh()
theirs = acquire(H100)
refusal = await refused([H100])
await pool.refresh()
theirs.release()
await pool.refresh()
print(json.dumps([refusal, changes]))
""")
    )
    assert "held by another agent on this host" in refusal
    assert changes[-2:] == [["foreign", "free"], ["free", "free"]]


@pytest.mark.parametrize("world", ["BOTH.replace('|0|0|', '|15|0|', 1)", "BOTH.splitlines()[1]", "''"])
def test_a_lost_gpu_is_said_to_be_lost(run: Program, world: str) -> None:
    refusal, states = run(
        asynchronously(f"""
await pool.refresh()
state({world})
await pool.refresh()
print(json.dumps([await refused([H100]), {{g.uuid: g.state.value for g in pool.view()}}]))
""")
    )
    assert "is lost" in refusal
    assert states[H100] == "lost"


def test_a_kernel_that_computes_is_not_quiet(run: Program) -> None:
    quiet = run(
        asynchronously("""
await pool.refresh()
hold = await pool.hold([H100])
before = await pool.quiet(hold)
state(BOTH.replace("|0|0|", "|0|37|", 1))
print(json.dumps([before, await pool.quiet(hold)]))
""")
    )
    assert quiet == [True, False]


def test_what_a_device_does(run: Program):
    sample = run(
        "figures('412000 700000 9000000000 61 1755 4 2 40960')\n"  # 4: slowed down by the power limit
        + "state(BOTH.replace('81559|0|0|', '81559|0|87|71,72'))\n"
        + "driver = Nvidia(); driver.gpus()\n"
        + "print(json.dumps([driver.sample(H100).model_dump(), driver.memory_by_process(H100)]))"
    )
    assert sample == [
        {
            "uuid": H100,
            "simulated": False,
            "problem": "",
            "utilization_percent": 87.0,
            "memory_used_bytes": 40960 << 20,
            "memory_total_bytes": 81559 << 20,
            "power_milliwatts": 412_000,
            "power_limit_milliwatts": 700_000,
            "energy_millijoules": 9_000_000_000,
            "temperature_celsius": 61,
            "sm_clock_mhz": 1756,
            "memory_clock_mhz": 1757,
            "throttled_by": ["power"],
            "corrected_ecc_errors": 20,
            "uncorrected_ecc_errors": 2,
            "xid_errors": {},
            "last_xid": "",
        },
        {"71": 512 << 20, "72": 512 << 20},
    ]


def test_what_a_device_cannot_say_is_left_open(run: Program):
    sample = run("driver = Nvidia(); driver.gpus(); print(driver.sample(A100).model_dump_json())")
    assert (sample["problem"], sample["utilization_percent"]) == ("", 0)
    for unknown in ("power_milliwatts", "energy_millijoules", "temperature_celsius", "uncorrected_ecc_errors"):
        assert sample[unknown] is None
    assert sample["throttled_by"] == []


def test_a_lost_device_says_so(run: Program):
    sample = run(
        "driver = Nvidia(); driver.gpus(); state(BOTH.replace('81559|0|', '81559|15|'))\n"
        "print(json.dumps([driver.sample(H100).model_dump(), driver.memory_by_process(H100)]))"
    )
    assert "GPU is lost" in sample[0]["problem"]
    assert sample[0]["utilization_percent"] is None
    assert sample[1] is None


def test_a_device_with_memory_errors_takes_nothing_new(run: Program) -> None:
    """What holds it goes on; a reset, which sets the counter back, makes it well again."""
    held, refusal, changes = run(
        asynchronously("""
figures('0 0 0 0 0 0 0 0')
await pool.refresh()
hold = await pool.hold([A100])
figures('0 0 0 0 0 0 2 0')
await pool.refresh()
held = [[g.state.value, g.reason] for g in pool.view()]
refusal = await refused([H100])
pool.give_back(hold)
await pool.refresh()
figures('0 0 0 0 0 0 0 0')
await pool.refresh()
figures('0 0 1 0 0 0 0 0')
await pool.refresh()
print(json.dumps([held, refusal, [*changes, pool.view()[0].reason]]))
""")
    )
    why = "2 uncorrected memory errors; reset it (nvidia-smi --gpu-reset) or restart its host"
    assert held == [["unhealthy", why], ["held", why]]
    assert refusal.endswith(f"is unhealthy: {why}")
    assert changes[-3:-1] == [["free", "free"], ["unhealthy", "unhealthy"]]
    assert "no spare ones left" in changes[-1]
