"""What an agent says that its devices and kernels do, by its own look at real processes."""

from __future__ import annotations

import subprocess
import sys

from perijove.remote_agent.gpus.simulated import simulated_gpus
from perijove.remote_agent.telemetry import Telemetry, Watched
from perijove.wire.control import Hello, Welcome
from perijove.wire.usage import Usage
from perijove.wire.versions import PROTOCOL, ProtocolVersion

from .fake_broker import FakeBroker

# A process and a child, of which only the child works; both say when they are there.
FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print('works', flush=True)\\nwhile True: pass"])
sys.stdin.read()
child.kill()
"""


def test_a_kernels_children_are_part_of_it_and_drive_its_simulated_device() -> None:
    idle, busy = simulated_gpus([("H100", 2)], "agent-1")
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        try:
            assert parent.stdout.readline() == b"works\n"
            telemetry, watched = Telemetry(None), [Watched("kernel-1", parent.pid, (busy.uuid,))]
            usage = telemetry.sample([idle, busy], watched)
            while usage.kernels[0].cpu_percent < 10:  # of the time since the look before: it comes with the next ones
                usage = telemetry.sample([idle, busy], watched)
        finally:
            parent.stdin.close()
    (kernel,) = usage.kernels
    assert (kernel.kernel_id, kernel.processes) == ("kernel-1", 2)
    assert kernel.memory_bytes > 1 << 20
    at_rest, at_work = usage.gpus
    assert at_rest.simulated
    assert at_work.simulated
    assert (at_rest.utilization_percent, at_rest.memory_used_bytes) == (0, 0)
    assert at_work.utilization_percent == round(min(100.0, kernel.cpu_percent), 1)
    assert at_work.memory_used_bytes == kernel.gpus[0].own_memory_bytes == kernel.memory_bytes
    assert (at_work.power_milliwatts or 0) > (at_rest.power_milliwatts or 0)
    assert usage.host.cores >= 1
    assert 0 < usage.host.memory_used_bytes < usage.host.memory_total_bytes


def test_a_process_that_is_gone_is_no_error() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (kernel,) = Telemetry(None).sample([], [Watched("kernel-1", gone.pid, ())]).kernels
    assert (kernel.processes, kernel.cpu_percent, kernel.memory_bytes) == (0, 0, 0)


async def test_an_agent_reports(agent: Hello, broker: FakeBroker) -> None:
    await broker.until(Usage)
    kernel_id, _ = await broker.bind(gpus=[agent.gpus[0].uuid])
    usage = await broker.until(Usage, lambda usage: bool(usage.kernels and usage.kernels[0].gpus))
    assert [gpu.uuid for gpu in usage.gpus] == [gpu.uuid for gpu in agent.gpus]
    (kernel,) = usage.kernels
    assert kernel.kernel_id == kernel_id
    assert [own.uuid for own in kernel.gpus] == [agent.gpus[0].uuid]
    assert kernel.processes >= 1


async def test_an_older_broker_is_told_nothing_that_it_does_not_know(broker: FakeBroker, agent: Hello) -> None:
    """It would close the link."""
    await broker.until(Usage)
    older = ProtocolVersion(major=PROTOCOL.major, minor=2)
    broker.welcome = lambda hello: Welcome(
        protocol=older, version="older", renew_every_s=0.1, allowance_s=60, keep=[k.kernel_id for k in hello.kernels]
    )
    assert broker._control is not None
    await broker._control.close()
    await broker.until(Hello)
    broker.messages.clear()
    await broker.bind(gpus=[agent.gpus[0].uuid])
    assert not any(isinstance(message, Usage) for message in broker.messages)
