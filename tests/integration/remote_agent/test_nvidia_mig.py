"""GPUs in MIG mode: each instance is a device of its own, and the GPU that it is a part of is none."""

from __future__ import annotations

import pytest

from .nvml_programs import Program, asynchronously

FIRST = "MIG-11111111-0000-5000-8000-000000000001"
SECOND = "MIG-11111111-0000-5000-8000-000000000002"
INSTANCES = f"""
FIRST, SECOND = {FIRST!r}, {SECOND!r}
H100_LINE, A100_LINE = BOTH.splitlines()
MIG = chr(10).join([
    H100_LINE + "|mig",
    FIRST + "|NVIDIA H100 80GB HBM3 MIG 1g.10gb|9856|0|0|71",
    SECOND + "|NVIDIA H100 80GB HBM3 MIG 2g.20gb|19968|0|0|",
    A100_LINE, ""])
state(MIG)
"""


def test_instances_are_listed_in_place_of_their_gpu(run: Program) -> None:
    gpus = run(
        INSTANCES
        + "print(json.dumps([[g.place, g.uuid, g.model, g.memory_bytes >> 20, g.part_of == H100] "
        + "for g in driver.gpus()])); driver.close()"
    )
    assert [(place, model, memory, part) for place, _, model, memory, part in gpus] == [
        ("0:0", "H100-1g.10gb", 9856, True),
        ("0:1", "H100-2g.20gb", 19968, True),
        ("1", "A100-40GB", 40960, False),
    ]
    assert [gpu[1] for gpu in gpus[:2]] == [FIRST, SECOND]


def test_an_older_drivers_instances_are_named_by_their_size(run: Program) -> None:
    models = run(
        INSTANCES
        + "state(MIG.replace(' MIG 1g.10gb|9856', '|40192'))\n"
        + "print(json.dumps([g.model for g in driver.gpus()])); driver.close()"
    )
    assert models[0] == "H100-3g.40gb"


def test_an_a100s_instances_know_which_a100_they_are_of(run: Program) -> None:
    """The driver tells the memory of a GPU in MIG mode to privileged processes only."""
    models = run("""
whole, part = f"{A100}|NVIDIA A100-SXM4-80GB|81920|0|0||mig", "MIG-1|NVIDIA A100-SXM4-80GB MIG 3g.40gb|40192|0|0|"
state(whole + chr(10) + part)
print(json.dumps([g.model for g in driver.gpus()]))
driver.close()
""")
    assert models == ["A100-80GB-3g.40gb"]


def test_what_is_an_instances_own_and_what_its_gpus(run: Program) -> None:
    first, second, processes = run(
        INSTANCES
        + "figures('412000 700000 9000000000 61 1755 4 0 40960'); driver.gpus()\n"
        + "samples = [driver.sample(uuid).model_dump() for uuid in (FIRST, SECOND)]\n"
        + "print(json.dumps([*samples, driver.memory_by_process(FIRST)])); driver.close()"
    )
    assert first["problem"] == ""
    assert first["utilization_percent"] is None, "NVML does not say it of an instance"
    assert (first["memory_used_bytes"], first["memory_total_bytes"]) == (512 << 20, 9856 << 20)
    assert (second["memory_used_bytes"], second["memory_total_bytes"]) == (0, 19968 << 20)
    assert processes == {"71": 512 << 20}
    for whole in ("power_milliwatts", "temperature_celsius", "sm_clock_mhz", "throttled_by", "uncorrected_ecc_errors"):
        assert first[whole] == second[whole] not in (None, [])


def test_an_instance_is_bound_by_its_uuid_and_locked_by_itself(run: Program) -> None:
    """Foreign processes on one instance are no reason not to lease another."""
    states, environment, kept, refusal, quiet = run(
        INSTANCES
        + asynchronously("""
await pool.refresh()
states = [g.state.value for g in pool.view()]
hold = await pool.hold([SECOND])
kept = list(Keeper.held)
refusal = await refused([FIRST])
quiet = await pool.quiet(hold)
pool.give_back(hold)
await pool.close()
print(json.dumps([states, hold.environment, kept, refusal, quiet]))
""")
    )
    assert states == ["foreign", "free", "free"]
    assert environment["CUDA_VISIBLE_DEVICES"] == environment["NVIDIA_VISIBLE_DEVICES"] == SECOND
    assert kept == [SECOND]
    assert "in use by processes of others (process 71)" in refusal
    assert quiet, "what cannot be seen must not be billed for ever"


@pytest.mark.parametrize("trouble", ["reported", "lost"])
def test_what_is_wrong_with_a_gpu_is_wrong_with_its_instances(run: Program, trouble: str) -> None:
    reported = 'report(H100 + " 79 1"); assert in_doubt.wait(30)'
    lost = 'state(MIG.replace("81559|0|", "81559|15|"))'
    gpus = run(
        INSTANCES
        + "driver.gpus()\n"
        + (reported if trouble == "reported" else lost)
        + "\nprint(json.dumps([[g.model, g.state.value] for g in driver.gpus()])); driver.close()"
    )
    state = "unhealthy" if trouble == "reported" else "lost"
    assert sorted(gpus) == [["A100-40GB", "free"], ["H100-1g.10gb", state], ["H100-2g.20gb", state]]


def test_a_programs_fault_is_its_own_instances(run: Program) -> None:
    first, second = run(
        INSTANCES
        + """
driver.gpus()
report(H100 + " 31 1", H100 + " 13")  # GPU instance 1 is the first; the other report names none
until(lambda: driver.sample(FIRST).xid_errors == {13: 1, 31: 1})
print(json.dumps([driver.sample(uuid).xid_errors for uuid in (FIRST, SECOND)]))
driver.close()
"""
    )
    assert first == {"13": 1, "31": 1}
    assert second == {"13": 1}


def test_instances_come_and_go_with_their_configuration(run: Program) -> None:
    """None of them is lost: they are no more, as their GPU is in MIG mode or out of it."""
    steps = run(
        INSTANCES
        + """
steps = [[g.model for g in driver.gpus()]]
for text in (BOTH, MIG, MIG.replace(MIG.splitlines()[2] + chr(10), ""), H100_LINE + "|mig" + chr(10)):
    state(text)
    steps.append([f"{g.model} {g.state.value}" for g in driver.gpus()])
driver.close()
print(json.dumps(steps))
"""
    )
    assert steps[0] == ["H100-1g.10gb", "H100-2g.20gb", "A100-40GB"]
    assert steps[1] == ["H100 free", "A100-40GB free"]
    assert steps[2] == ["H100-1g.10gb free", "H100-2g.20gb free", "A100-40GB free"]
    assert steps[3] == ["H100-1g.10gb free", "A100-40GB free"]
    assert steps[4] == ["A100-40GB lost"], "a GPU in MIG mode without instances is nothing that can be leased"
