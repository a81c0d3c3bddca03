"""``perijove audit``: entries in words, and names shown as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from perijove.cli import app
from perijove.cli import audit as command
from typer.testing import CliRunner

LEASE = {"lease": "l", "gpu": "H100", "count": 2, "agent": "host-a", "simulated": True}
ENTRIES = [
    {"action": "attach", "detail": LEASE},
    {"action": "release", "detail": {**LEASE, "ran_ms": 2500, "cost_nanodollars": 2_500_000, "why": "bind_failed"}},
    {"action": "set_budget", "detail": {"budget_nanodollars": None}},
    {"action": "create_token", "detail": {"role": "user", "name": "[red]carol"}},
]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[str, Any] = {"seq": 1, "at": "2026-11-24T01:02:03.000Z", "actor": "[bold]ada", "via": "link"}
    entries = [{**shared, "user": "ada", "kernel_id": "k", **entry} for entry in ENTRIES]
    monkeypatch.setattr(command, "ask", lambda _: entries)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("broker")
def test_entries_in_words() -> None:
    shown = CliRunner().invoke(app, ["audit"])
    assert shown.exit_code == 0, shown.output
    assert "2026-11-24 01:02:03" in shown.output
    assert "2 × H100 (simulated) on host-a; 2.5 s, $0.0025; bind failed" in shown.output
    assert "no budget" in shown.output
    assert "[bold]ada" in shown.output, "as it is"
    assert "role user, for [red]carol" in shown.output


@pytest.mark.usefixtures("broker")
def test_json_is_what_the_broker_said() -> None:
    shown = CliRunner().invoke(app, ["audit", "--json", "--since", "2026-11-01"])
    assert [entry["action"] for entry in json.loads(shown.output)] == [entry["action"] for entry in ENTRIES]


def test_a_limit_beyond_the_brokers_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["audit", "--limit", "5000"]).exit_code == 2
