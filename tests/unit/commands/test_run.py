"""``%gpu`` lines, run against a notebook and a GPU kernel that are played here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from perijove.wire.commands.run import COMMANDS, Outcome, run_command
from perijove.wire.errors import BrokerUnreachable, InvalidGpuSpec, UsageError
from perijove.wire.front.answers import ShowPanel
from perijove.wire.gpu_spec import GpuSpec
from perijove.wire.models import (
    Bill,
    BudgetScope,
    BudgetView,
    By,
    GrantedGpus,
    KernelState,
    KernelView,
    LeaseView,
    ScopeLimit,
    SetBy,
    UserLimits,
)

SPENT = {"spent_nanodollars": 3_900_000_000, "spent_simulated_nanodollars": 0}
FIFTY = {"own_nanodollars": 50 * 10**9, "limit_nanodollars": 50 * 10**9, "set_by": SetBy.USER, "by": "ada"}
IN_ALL = {"spent_nanodollars": 3_900_000_000, "spent_simulated_nanodollars": 10**9}
LIMITS = UserLimits(
    user="ada",
    month="2026-11",
    limits=[
        ScopeLimit(scope=BudgetScope.KERNEL),
        ScopeLimit(scope=BudgetScope.USER, **IN_ALL),
        ScopeLimit(scope=BudgetScope.MONTH, **FIFTY, **SPENT),
    ],
)


class PlayedKernel:
    view_age_s = 0.0

    def __init__(self, name: str, said: list[Any], attach_s: float | None = 0.25) -> None:
        self.name = name
        self.view: KernelView | None = None
        self._said = said
        self._attach_s = attach_s

    async def attach(self, gpu: str | None) -> float | None:
        self._said.append(("attach", self.name, gpu))
        self.view = view(KernelState.ATTACHED, gpu or ("H100" if self.name == "this kernel" else self.name))
        return self._attach_s

    async def release(self) -> None:
        self._said.append(("release", self.name))
        if self.view is not None:
            self.view = view(KernelState.SUSPENDED, self.view.gpu_spec)

    async def interrupt(self) -> None:
        self._said.append(("interrupt", self.name))

    async def restart(self, gpu: str | None) -> None:
        self._said.append(("restart", self.name, gpu))

    async def keep(self, seconds: int) -> None:
        self._said.append(("keep", self.name, seconds))

    async def set_budget(self, nanodollars: int | None) -> None:
        self._said.append(("budget", self.name, nanodollars))


class Played:
    """Surroundings of either kind; what they are asked to do is in ``said``."""

    def __init__(self, *, is_gpu_kernel: bool, names: Sequence[str] = ()) -> None:
        self.is_gpu_kernel = is_gpu_kernel
        self.said: list[Any] = []
        self.kernels = {name: PlayedKernel(name, self.said) for name in names}
        self.unreachable = False
        self.has = LIMITS
        self.broker: str | None = "http://127.0.0.1:8470"

    @property
    def latest(self) -> PlayedKernel | None:
        return next(reversed(self.kernels.values()), None)

    def kernel_for(self, spec: GpuSpec | None) -> PlayedKernel:
        if self.is_gpu_kernel:
            return self.kernels["this kernel"]
        return self.kernels.setdefault(str(spec), PlayedKernel(str(spec), self.said))

    async def gpus(self) -> tuple[list[dict[str, Any]], str | None]:
        if self.unreachable:
            raise BrokerUnreachable("nobody answers")
        return [], self.broker

    async def bill(self, *, everything: bool, by: By) -> Bill:
        self.said.append(("bill", everything, by))
        return Bill(total_nanodollars=0, simulated_nanodollars=0, leases=[], by=by)

    async def watch(self) -> None:
        self.said.append("watch")

    async def limits(self) -> UserLimits:
        return self.has

    async def set_limit(self, scope: BudgetScope, nanodollars: int | None) -> UserLimits:
        self.said.append(("limit", scope.value, nanodollars))
        return self.has

    async def get(self, names: Sequence[str]) -> None:
        self.said.append(("get", list(names)))

    async def put(self, names: Sequence[str]) -> None:
        self.said.append(("put", list(names)))


def view(state: KernelState, spec: str = "H100") -> KernelView:
    attached = state is KernelState.ATTACHED
    gpus = GrantedGpus(model=spec, count=1, simulated=True, uuids=["u"], agent_id="a", agent_name="host-a")
    return KernelView(
        id="k",
        name="perijove",
        state=state,
        gpu_spec=spec,
        incarnation="i",
        gpus=gpus if attached else None,
        lease=LeaseView(id="lease", price_microdollars_per_second=1000, count=1) if attached else None,
        idle_timeout_s=60,
    )


def notebook(*names: str) -> Played:
    return Played(is_gpu_kernel=False, names=names)


def gpu_kernel() -> Played:
    return Played(is_gpu_kernel=True, names=["this kernel"])


def run(line: str, here: Played) -> Outcome:
    return asyncio.run(run_command(line, here))


@pytest.mark.parametrize(("line", "seconds"), [("keep", 600), ("keep 5", 300), ("keep 0.5", 30)])
def test_keeping_counts_minutes(line: str, seconds: int) -> None:
    here = gpu_kernel()
    run(line, here)
    assert here.said == [("keep", "this kernel", seconds)]


def test_the_status_of_one_kernel_has_the_panel_beside_it_where_that_can_be_seen() -> None:
    here = gpu_kernel()
    assert run("", here).answer.panel is None, "there is nothing to see"
    here.kernels["this kernel"].view = view(KernelState.ATTACHED)
    answer = run("", here).answer
    assert answer.panel is ShowPanel.WHEN_DRAWN
    assert set(answer.data or ()) == {"text/plain", "text/html"}
    assert not here.said, "nobody is told once a second what nobody may see"
    several = notebook("H100", "A100")
    for kernel in several.kernels.values():
        kernel.view = view(KernelState.ATTACHED)
    assert run("", several).answer.panel is None


def test_monitor_is_the_panel_alone() -> None:
    here = gpu_kernel()
    answer = run("monitor", here).answer
    assert (answer.panel, answer.data, here.said) == (ShowPanel.ALWAYS, None, ["watch"])
    with pytest.raises(UsageError, match="nothing has run remotely yet"):
        run("monitor", notebook())


def test_nothing_behind_it_is_the_status() -> None:
    assert repr(run("", gpu_kernel()).table) == repr(run("status", gpu_kernel()).table)
    assert "put %%gpu H100 above a cell" in repr(run("", notebook()).table)


def test_a_table_is_shown_as_text_and_as_html_and_text_is_printed() -> None:
    shown, printed = run("status", gpu_kernel()).answer, run("help", gpu_kernel()).answer
    assert shown.text == ""
    assert shown.data is not None
    assert "this kernel" in shown.data["text/plain"]
    assert "<table>" in shown.data["text/html"]
    assert printed.data is None
    assert printed.text.startswith("%gpu ")


@pytest.mark.parametrize("here", [notebook(), gpu_kernel()], ids=["notebook", "GPU kernel"])
def test_help_names_only_commands_that_there_are(here: Played) -> None:
    lines = run("help", here).text.splitlines()
    words = [line.removeprefix("%gpu").split()[0] for line in lines if line.startswith("%gpu ") and line[5] != " "]
    assert words
    assert set(words) <= set(COMMANDS)


def test_help_of_the_gpu_kernel_speaks_of_no_cell_magic_and_of_no_variables_that_travel() -> None:
    text = run("help", gpu_kernel()).text
    assert "%%gpu" not in text
    assert "%gpu get" not in text
    assert "so that the next cell starts at once" in text
    assert "the next %%gpu cell starts at once" in run("help", notebook()).text


def test_a_notebook_attaches_a_kernel_of_that_spec() -> None:
    here = notebook()
    assert run("attach A100", here).text == (
        "A100 (simulated) attached in 0.25 s; released 60 s after the last cell, variables kept\n"
    )
    assert here.said == [("attach", "A100", None)]


def test_the_gpu_kernel_moves_to_another_spec_only_when_one_is_named() -> None:
    here = gpu_kernel()
    run("attach", here)
    run("attach A100:2", here)
    run("restart", here)
    run("restart H100", here)
    assert here.said == [
        ("attach", "this kernel", None),
        ("attach", "this kernel", "A100:2"),
        ("restart", "this kernel", None),
        ("restart", "this kernel", "H100"),
    ]


def test_release_says_what_became_of_the_variables() -> None:
    here = notebook("H100", "A100")
    here.kernels["H100"].view = view(KernelState.ATTACHED)
    assert run("release", here).text == ("H100 released; variables kept\nA100 released; its variables are gone\n")
    assert run("release", gpu_kernel()).text == "this kernel holds no GPU; nothing is billed\n"


def test_a_notebooks_kernels_can_be_named() -> None:
    here = notebook("H100", "A100")
    run("interrupt A100", here)
    run("restart H100", here)
    assert here.said == [("interrupt", "A100"), ("restart", "H100", None)]
    with pytest.raises(UsageError, match="no kernel 'B200'; it has H100, A100"):
        run("release B200", here)


def test_a_bill_is_of_this_notebook_or_of_everything() -> None:
    here = gpu_kernel()
    run("bill", here)
    run("bill --all", here)
    assert here.said == [("bill", False, "day"), ("bill", True, "day")]


def test_a_budget_is_set_removed_and_shown() -> None:
    here = gpu_kernel()
    run("budget 5.00", here)
    run("budget none", here)
    shown = run("budget", here).text.splitlines()
    assert "has no budget and has cost nothing" in shown[0]
    assert shown[1:] == ["month 2026-11 (UTC): $46.10 of $50.00 left, $3.9000 spent (set by you)"]
    assert here.said == [("budget", "this kernel", 5_000_000_000), ("budget", "this kernel", None)]


def test_names_of_variables_are_handed_on() -> None:
    here = notebook("H100")
    run("get a b", here)
    run("put c", here)
    assert here.said == [("get", ["a", "b"]), ("put", ["c"])]


def test_a_months_and_a_users_budget_are_set_and_shown_without_a_kernel() -> None:
    here = notebook()
    assert (
        run("budget month 50", here).text == "month 2026-11 (UTC): $46.10 of $50.00 left, $3.9000 spent (set by you)\n"
    )
    run("budget user none", here)
    assert here.said == [("limit", "month", 50_000_000_000), ("limit", "user", None)]
    assert run("budget", here).text.splitlines() == [
        "month 2026-11 (UTC): $46.10 of $50.00 left, $3.9000 spent (set by you)",
        "in all: no budget; $3.9000 spent, and $1.0000 in simulated dollars",
    ]


def test_all_budgets_that_apply_to_a_kernel_are_shown() -> None:
    here = gpu_kernel()
    here.kernels["this kernel"].view = view(KernelState.ATTACHED).model_copy(
        update={
            "budgets": [
                BudgetView(
                    scope=BudgetScope.MONTH,
                    limit_nanodollars=50 * 10**9,
                    spent_nanodollars=0,
                    simulated=True,
                    set_by=SetBy.USER,
                )
            ]
        }
    )
    lines = run("budget", here).text.splitlines()
    assert lines[0].startswith("this kernel has no budget")
    assert lines[1].startswith("month 2026-11 (UTC): $46.10 of $50.00 left")


@pytest.mark.parametrize("command", ["budget 5", "get x", "put x"])
def test_what_needs_a_kernel_says_so(command: str) -> None:
    with pytest.raises(UsageError, match="nothing has run remotely yet"):
        run(command, notebook())


@pytest.mark.parametrize("line", ["attach H100 # for tonight", "attach H100;", "attach H100 # it's free"])
def test_a_comment_and_a_semicolon_are_no_arguments(line: str) -> None:
    here = notebook()
    run(line, here)
    assert here.said == [("attach", "H100", None)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "no command 'nonsense'; see %gpu help"),
        ("replay", "not available in this version"),
        ("monitor H100", "takes nothing"),
        ("keep 10 20", "takes one number of minutes"),
        ("keep long", "up to 60 minutes, like %gpu keep 10, and not 'long'"),
        ("keep 61", "up to 60 minutes"),
        ("keep 0", "up to 60 minutes"),
        ("keep nan", "up to 60 minutes"),
        ("get 'a", "cannot be read"),
        ("attach H100 A100", "takes one GPU spec"),
        ("bill all", "%gpu bill --all"),
        ("budget 1 2", "one amount of dollars"),
        ("budget much", "%gpu budget"),
        ("budget month much", "%gpu budget month"),
        ("budget user 1 2", "%gpu budget user takes one amount"),
    ],
)
def test_what_cannot_be_read_says_what_can(line: str, words: str) -> None:
    here = gpu_kernel()
    with pytest.raises(UsageError, match=words):
        run(line, here)
    assert here.said == []


def test_a_refused_spec_reaches_nobody() -> None:
    here = gpu_kernel()
    with pytest.raises(InvalidGpuSpec):
        run("attach H100:0", here)
    assert here.said == []


def test_a_list_without_a_broker_is_no_error() -> None:
    here = notebook()
    here.unreachable = True
    assert repr(run("list", here).table) == "no GPUs to list: nobody answers"


def test_a_list_names_the_broker_where_its_address_is_known() -> None:
    here = gpu_kernel()
    assert "agent --broker http://127.0.0.1:8470 " in repr(run("list", here).table)
    here.broker = None
    note = repr(run("list", here).table)
    assert note.startswith("this server has no GPUs")
    assert "agent --broker URL " in note
