"""Pending cells, reasons of death, settings, simulated GPUs: small pure parts of the agent."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from perijove.remote_agent.death import why_it_ended
from perijove.remote_agent.gpus.simulated import simulated_gpus
from perijove.remote_agent.pending_cells import PendingCells
from perijove.remote_agent.settings import AgentSettings
from perijove.wire.errors import InsecureAddress, UsageError
from perijove.wire.gpu_spec import GIB


def header(msg_type: str, msg_id: str) -> bytes:
    return json.dumps({"msg_type": msg_type, "msg_id": msg_id}).encode()


def status(state: str, parent: bytes) -> list[bytes]:
    return [header("status", "s"), parent, b"{}", json.dumps({"execution_state": state}).encode()]


def test_a_kernel_is_busy_from_its_first_waiting_cell_to_the_idle_of_its_last() -> None:
    cells = PendingCells()
    one, two = header("execute_request", "1"), header("execute_request", "2")
    assert cells.request_sent(one)
    assert not cells.request_sent(two)
    assert not cells.status_seen(status("busy", one))
    assert not cells.status_seen(status("idle", one))
    assert cells
    assert cells.status_seen(status("idle", two))
    assert not cells


def test_comms_and_completions_keep_nothing_busy() -> None:
    cells = PendingCells()
    assert not cells.request_sent(header("comm_msg", "1"))
    assert not cells.request_sent(header("complete_request", "2"))
    assert not cells.status_seen(status("idle", header("comm_msg", "1")))
    assert not cells


def test_code_that_talks_of_idle_ends_no_cell() -> None:
    cells = PendingCells()
    request = header("execute_request", "1")
    cells.request_sent(request)
    stream = [header("stream", "s"), request, b"{}", b'{"name": "stdout", "text": "\\"idle\\" \\"status\\""}']
    assert not cells.status_seen(stream)
    assert cells


@pytest.mark.parametrize(
    ("status_code", "before", "after", "reason", "word"),
    [
        (0, 1, 1, "exited", "status 0"),
        (3, None, None, "exited", "status 3"),
        (-signal.SIGKILL, 1, 1, "killed", "SIGKILL"),
        (-signal.SIGKILL, 1, 2, "out_of_memory", "host memory"),
        (-signal.SIGKILL, None, None, "killed", "SIGKILL"),
        (-signal.SIGSEGV, 1, 2, "killed", "SIGSEGV"),
        (-300, 1, 1, "killed", "signal 300"),
    ],
)
def test_a_death_has_a_reason(status_code: int, before: int | None, after: int | None, reason: str, word: str) -> None:
    found, message = why_it_ended(status_code, before, after)
    assert found == reason
    assert word in message


def test_simulated_gpus_are_marked_and_this_agents_own() -> None:
    gpus = simulated_gpus([("h100", 2), ("A100", 1)], "agent-1")
    assert [gpu.model for gpu in gpus] == ["H100", "H100", "A100-80GB"]
    assert all(gpu.simulated and gpu.uuid.startswith(f"SIM-{gpu.model}-{gpu.index}-") for gpu in gpus)
    assert gpus[0].memory_bytes == 80 * GIB
    assert simulated_gpus([("h100", 2), ("A100", 1)], "agent-1") == gpus
    assert not {gpu.uuid for gpu in gpus} & {gpu.uuid for gpu in simulated_gpus([("H100", 2)], "agent-2")}


@pytest.mark.parametrize("wanted", [("", 1), ("H100", 0), ("../x", 1)])
def test_nonsense_is_not_simulated(wanted: tuple[str, int]) -> None:
    with pytest.raises(UsageError, match="--simulate H100:2"):
        simulated_gpus([wanted], "agent-1")


def test_the_token_is_not_sent_in_the_clear_to_another_machine(tmp_path: Path) -> None:
    with pytest.raises(InsecureAddress, match="--insecure"):
        AgentSettings("http://broker.example", "t", tmp_path)
    AgentSettings("http://broker.example", "t", tmp_path, insecure=True)
    AgentSettings("http://127.0.0.1:80", "t", tmp_path)
    settings = AgentSettings("https://broker.example/base/", "secret", tmp_path)
    assert settings.link_url("api/x") == "wss://broker.example/base/api/x"
    assert "secret" not in repr(settings)
    with pytest.raises(UsageError):
        AgentSettings("broker", "t", tmp_path)
