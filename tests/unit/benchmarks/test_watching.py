"""The stand-in fleet says what the protocol lets it say, or the benchmark would measure refusals."""

from __future__ import annotations

import time

from perijove.wire.control import from_agent
from perijove.wire.usage import Usage

from benchmarks.peers.fleet import StandInAgent, _Held


def test_an_agents_figures_change_and_are_of_the_protocol() -> None:
    agent = StandInAgent("http://127.0.0.1:1", "token", "host-1", 8)
    agent.kernels["kernel"] = _Held("aa" * 16, "lease", [agent.uuids[3]], time.monotonic())
    first, second = agent.usage(), agent.usage()
    assert from_agent.validate_json(first.model_dump_json()) == first
    assert isinstance(second, Usage)
    assert [gpu.uuid for gpu in first.gpus] == agent.uuids
    assert all(gpu.simulated for gpu in first.gpus)
    working = [gpu.uuid for gpu in first.gpus if (gpu.utilization_percent or 0) > 0]
    assert working == [agent.uuids[3]]
    assert first.gpus[3] != second.gpus[3]
