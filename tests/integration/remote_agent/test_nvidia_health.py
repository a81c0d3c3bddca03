"""Devices in trouble: error reports (Xids), the driver's own wish, a lost GPU, a driver that goes and comes back."""

from __future__ import annotations

import re

import pytest

from .nvml_programs import A100, H100, Program, asynchronously

# What an Xid's text is like, but for the time.
XID_79 = re.compile(r"Xid 79: the GPU has fallen off the bus \(\d\d:\d\d UTC\)\Z")


def test_a_critical_xid_makes_a_gpu_unhealthy_and_what_runs_on_it_goes_on(run: Program) -> None:
    held, refusal, states = run(
        asynchronously("""
await pool.refresh()
hold = await pool.hold([H100])
report(H100 + " 79", A100 + " 48")
await asyncio.to_thread(in_doubt.wait, 30)
until(lambda: all(driver.sample(uuid).xid_errors for uuid in (H100, A100)))
await pool.refresh()
held = [[g.state.value, g.reason] for g in pool.view()]
refusal = await refused([A100])
pool.give_back(hold)
await pool.refresh()
await pool.close()
print(json.dumps([held, refusal, [g.state.value for g in pool.view()]]))
""")
    )
    (h100, why), (a100, _) = held
    assert (h100, a100) == ("held", "unhealthy")
    assert XID_79.match(why)
    assert re.search(r"A100-40GB GPU-\S+ is unhealthy: Xid 48: a memory error that could not be corrected \(", refusal)
    assert states == ["unhealthy", "unhealthy"]


def test_a_programs_own_fault_is_shown_and_excludes_nothing(run: Program) -> None:
    sample, states, doubted = run(
        asynchronously("""
await pool.refresh()
report(H100 + " 31", H100 + " 43", H100 + " 31")
sample = until(lambda: (s := driver.sample(H100)) and sum(s.xid_errors.values()) == 3 and s)
await pool.refresh()
hold = await pool.hold([H100])
await pool.close()
print(json.dumps([sample.model_dump(), [g.state.value for g in pool.view()], in_doubt.is_set()]))
""")
    )
    assert sample["xid_errors"] == {"31": 2, "43": 1}
    assert sample["last_xid"].startswith("Xid 31: a program's access to memory that is not its own (")
    assert states == ["held", "free"]
    assert not doubted


def test_a_gpu_that_cannot_report_is_told_from_one_without_errors(run: Program) -> None:
    deaf, hears = run("""
state(BOTH.replace("81559|0|0|", "81559|0|0||deaf"))
driver.gpus()
report(H100 + " 79", A100 + " 79")
until(lambda: driver.sample(A100).xid_errors)
driver.close()
print(json.dumps([driver.sample(H100).xid_errors, {g.uuid: g.state.value for g in driver.gpus()}]))
driver.close()
""")
    assert deaf is None
    assert hears == {H100: "free", A100: "unhealthy"}


def test_a_reset_makes_a_gpu_well_again(run: Program) -> None:
    """It cannot be reached meanwhile. That it is lost is explained by what was reported before."""
    reasons, after, counts = run("""
driver.gpus()
report(H100 + " 79")
in_doubt.wait(30)
reasons = [driver.gpus()[0].reason]
state(BOTH.replace("81559|0|", "81559|15|"))
lost = {g.uuid: g for g in driver.gpus()}[H100]
reasons += [lost.state.value, lost.reason]
state(BOTH)
after = [[g.uuid, g.state.value, g.reason] for g in driver.gpus()]
report(H100 + " 48")  # it is listened to again
until(lambda: len(driver.sample(H100).xid_errors) == 2)
driver.close()
print(json.dumps([reasons, after, driver.sample(H100).xid_errors]))
""")
    unhealthy, lost, why_lost = reasons
    assert XID_79.match(unhealthy)
    assert lost == "lost"
    assert XID_79.match(why_lost)
    assert after == [[H100, "free", ""], [A100, "free", ""]]
    assert counts == {"48": 1, "79": 1}, "counts go on, for who adds them up"


def test_what_the_driver_asks_for_is_done_before_anything_new_runs(run: Program) -> None:
    before, after = run("""
state(BOTH.replace("81559|0|0|", "81559|0|0||reset"))
before = [[g.state.value, g.reason] for g in driver.gpus()]
state(BOTH)
print(json.dumps([before, [g.state.value for g in driver.gpus()]]))
driver.close()
""")
    assert before[0] == [
        "unhealthy",
        "its driver asks for a reset of the GPU (nvidia-smi --gpu-reset, with the agent stopped)",
    ]
    assert before[1] == ["free", ""]
    assert after == ["free", "free"]


def test_a_driver_that_is_loaded_anew_is_taken_up_again(run: Program) -> None:
    """Held devices are lost meanwhile, and are the same after it. What was wrong with them before is over."""
    states, problem, refusal, sample, reported = run(
        asynchronously("""
figures('412000 700000 9000000000 61 1755 0 0 40960')
await pool.refresh()
report(A100 + " 74")
await asyncio.to_thread(in_doubt.wait, 30)
await pool.refresh()
hold = await pool.hold([H100])
states = [[g.state.value for g in pool.view()]]
no_driver()
await pool.refresh()
states.append([[g.state.value, g.reason] for g in pool.view()])
problem = driver.sample(H100).problem
refusal = await refused([A100])
state(BOTH)
await pool.refresh()
states.append([[g.state.value, g.reason] for g in pool.view()])
sample = driver.sample(H100)
report(H100 + " 13")
reported = until(lambda: driver.sample(H100).xid_errors)
await pool.close()
print(json.dumps([states, problem, refusal, sample.power_milliwatts, reported]))
""")
    )
    before, away, after = states
    assert before == ["held", "unhealthy"]
    assert away[0] == ["lost", "the NVIDIA driver is not loaded"]
    assert away[1][0] == "lost"
    assert after == [["held", ""], ["free", ""]]
    assert problem == "the NVIDIA driver is not loaded"
    assert "is lost: Xid 74: an NVLink error" in refusal
    assert sample == 412_000
    assert reported == {"13": 1}


def test_a_look_between_unloading_and_loading_is_not_needed(run: Program) -> None:
    """The driver may come back before anybody has looked: then NVML wants to be begun with again."""
    states = run("""
driver.gpus()
no_driver()
assert driver.sample(H100).problem
state(BOTH)
states = [[g.state.value for g in driver.gpus()] for _ in range(2)]
driver.close()
print(json.dumps(states))
""")
    assert states == [["lost", "lost"], ["free", "free"]]


def test_the_thread_ends_when_it_is_told_to(run: Program) -> None:
    names = run("""
driver.gpus()
before = [thread.name for thread in threading.enumerate()]
driver.close()
print(json.dumps([before, [thread.name for thread in threading.enumerate()]]))
""")
    assert names == [["MainThread", "perijove-xids"], ["MainThread"]]


@pytest.mark.parametrize("flags", ["", "old"])
def test_memory_that_the_driver_keeps_for_itself_is_no_use_of_the_gpu(run: Program, flags: str) -> None:
    """As in nvidia-smi; of a driver that cannot tell them apart it is both."""
    used = run(f"""
figures('0 0 0 0 0 0 0 1024')
state(BOTH.replace("81559|0|0|", "81559|0|0||{flags}"))
driver.gpus()
print(driver.sample(H100).memory_used_bytes >> 20)
driver.close()
""")
    assert used == (1624 if flags else 1024)
