"""``perijove budget``: what is asked of the broker, and how it is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from perijove.cli import app, main
from perijove.cli import budget as command
from perijove.wire.models import BudgetScope, ScopeLimit, SetBy, UserLimits
from typer.testing import CliRunner


def limits(user: str = "ada") -> UserLimits:
    month = {"limit_nanodollars": 50 * 10**9, "set_by": SetBy.ADMIN, "by": "root"}
    spent = {"spent_nanodollars": 10**9, "spent_simulated_nanodollars": 0}
    return UserLimits(
        user=user,
        month="2026-11",
        limits=[
            ScopeLimit(scope=BudgetScope.KERNEL),
            ScopeLimit(scope=BudgetScope.USER, **spent),
            ScopeLimit(scope=BudgetScope.MONTH, **month, **spent),
        ],
    )


class PlayedBroker:
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    async def limits(self, user: str | None = None) -> UserLimits:
        return limits(user or "ada")

    async def everybodys_limits(self) -> list[UserLimits]:
        return [limits("ada"), limits("bob")]

    async def set_limit(
        self, scope: BudgetScope, nanodollars: int | None, user: str | None = None, set_by: SetBy | None = None
    ) -> None:
        self.said.append((scope.value, nanodollars, user, set_by))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> PlayedBroker:
    played = PlayedBroker()

    def ask(question: Callable[[Any], Awaitable[Any]]) -> Any:
        async def call() -> Any:
            return await question(played)

        return asyncio.run(call())

    monkeypatch.setattr(command, "ask", ask)
    return played


def run(*arguments: str) -> str:
    shown = CliRunner().invoke(app, ["budget", *arguments])
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_it_shows_all_scopes(broker: PlayedBroker) -> None:
    assert run().splitlines() == [
        "each kernel: no budget",
        "in all: no budget; $1.0000 spent",
        "month 2026-11 (UTC): $49.00 of $50.00 left, $1.0000 spent (set by root, an admin)",
    ]
    assert not broker.said


def test_amounts_are_set_for_oneself_and_none_removes(broker: PlayedBroker) -> None:
    run("--month", "50", "--kernel", "none")
    assert broker.said == [("month", 50 * 10**9, None, None), ("kernel", None, None, None)]


def test_who_names_a_user_sets_what_that_user_cannot_raise(broker: PlayedBroker) -> None:
    assert run("--for", "bob", "--user-total", "0").startswith("bob:\n")
    assert broker.said == [("user", 0, "bob", SetBy.ADMIN)]


def test_everybodys_and_json(broker: PlayedBroker) -> None:
    assert [line for line in run("--all").splitlines() if line.endswith(":")] == ["ada:", "bob:"]
    assert [user["user"] for user in json.loads(run("--all", "--json"))] == ["ada", "bob"]


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("arguments", [["--month", "much"], ["--all", "--month", "5"]])
def test_what_cannot_be_read_is_wrong_usage(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["perijove", "budget", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("perijove: --")
