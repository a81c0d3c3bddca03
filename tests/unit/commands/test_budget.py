"""A budget as the notebook reads and shows it."""

import pytest
from perijove.magics.cell_options import parse_cell_line
from perijove.wire.commands.budget import (
    budget_text,
    left_text,
    limit_text,
    new_warnings,
    read_amount,
    spent_now,
    stopped_text,
    used_up_text,
)
from perijove.wire.errors import UsageError
from perijove.wire.models import (
    BudgetScope,
    BudgetView,
    GrantedGpus,
    KernelState,
    KernelView,
    LeaseView,
    ScopeLimit,
    SetBy,
    UserLimits,
)


def month(*, spent=40_000_000_000, simulated=False, set_by=SetBy.USER, by="ada", warning=""):
    return BudgetView(
        scope=BudgetScope.MONTH,
        limit_nanodollars=50_000_000_000,
        spent_nanodollars=spent,
        simulated=simulated,
        set_by=set_by,
        by=by,
        warning=warning,
    )


def view(*, budget=500_000_000, spent=3_900_000, simulated=False, state=KernelState.ATTACHED, budgets=()):
    attached = state is KernelState.ATTACHED
    gpus = GrantedGpus(model="H100", count=1, simulated=simulated, uuids=["u"], agent_id="a", agent_name="host-a")
    return KernelView(
        id="k",
        name="perijove",
        state=state,
        gpu_spec="H100",
        gpus=gpus if attached else None,
        lease=LeaseView(id="lease", price_microdollars_per_second=1000, count=2) if attached else None,
        budget_nanodollars=budget,
        budgets=list(budgets),
        spent_nanodollars=spent,
        spent_simulated_nanodollars=spent if simulated else 0,
    )


def test_amounts_are_dollars_as_people_write_them():
    assert read_amount("0.50", "here") == read_amount("$.5", "here") == 500_000_000
    assert parse_cell_line("H100 --budget 0.50").budget_nanodollars == 500_000_000
    assert parse_cell_line("H100").budget_nanodollars is None


@pytest.mark.parametrize("text", ["0", "much", "1e12", "NaN"])
def test_what_is_no_amount_says_where(text):
    with pytest.raises(UsageError, match="%%gpu: --budget"):
        parse_cell_line(f"H100 --budget {text}")
    with pytest.raises(UsageError, match="--budget"):
        parse_cell_line("H100 --budget -1")


def test_what_is_left_counts_on_since_the_broker_spoke():
    assert left_text(view(), 0) == "$0.4961 of $0.5000 left"
    assert spent_now(view(), 1.5) == 3_900_000 + 3_000_000
    assert left_text(view(spent=600_000_000), 0) == "$0.0000 of $0.5000 left"
    assert left_text(view(budget=None), 0) == ""


def test_simulated_money_says_so_everywhere():
    simulated = view(simulated=True)
    assert left_text(simulated, 0).endswith("left (simulated)")
    assert "spent (simulated)" in budget_text("H100", simulated, 0)
    released = view(simulated=True, state=KernelState.SUSPENDED)
    assert used_up_text(released, stopped=True).startswith("this kernel's budget of $0.5000 (simulated) is used up")


def test_without_a_budget_it_says_how_to_set_one():
    assert budget_text("H100", view(budget=None), 0) == (
        "H100 has no budget; $0.0039 spent. `%gpu budget 5.00` sets one"
    )


def test_a_stopped_cell_hears_whether_its_variables_are_kept():
    assert "the variables over there are kept" in used_up_text(view(state=KernelState.SUSPENDED), stopped=True)
    assert "the variables over there are lost" in used_up_text(view(state=KernelState.DETACHED), stopped=True)


def test_the_tightest_budget_is_what_is_left():
    assert left_text(view(budgets=[month()]), 0) == "$10.00 of $50.00 left this month"
    assert left_text(view(budgets=[month(simulated=True)]), 1_000).endswith("left this month (simulated)")
    assert left_text(view(budgets=[month()]), 2_500) == "$5.0000 of $50.00 left this month", "by its own lease"


def test_a_kernels_cap_says_who_set_it():
    cap = BudgetView(
        scope=BudgetScope.KERNEL,
        limit_nanodollars=200_000_000,
        spent_nanodollars=3_900_000,
        simulated=False,
        set_by=SetBy.ADMIN,
        by="root",
    )
    text = budget_text("H100", view(budgets=[cap]), 0)
    assert text == "H100: $0.1961 of $0.2000 left (set by root, an admin), $0.0039 spent"


def test_a_cell_that_a_months_budget_stopped_says_which_and_who_can_raise_it():
    own = used_up_text(view(budgets=[month(spent=50_000_000_000)], state=KernelState.SUSPENDED), stopped=True)
    assert own.startswith("your budget of $50.00 for this month is used up, so the cell was stopped")
    assert own.endswith("`%gpu budget month AMOUNT` raises it for the next %%gpu cell")
    admins = stopped_text(view(budgets=[month(simulated=True, set_by=SetBy.ADMIN, by="root")]))
    assert admins.startswith("your budget of $50.00 (simulated) for this month has nothing left for this kernel, so")
    assert admins.endswith("an admin, like root, can raise it for the next cell")


def test_each_warning_is_told_once_and_again_after_it_was_over():
    told: set[str] = set()
    first, both = view(budgets=[month(warning="one")]), view(budgets=[month(warning="two"), month(warning="one")])
    assert new_warnings(first, told) == ["one"]
    assert new_warnings(both, told) == ["two"]
    assert new_warnings(both, told) == []
    assert new_warnings(view(), told) == []
    assert new_warnings(first, told) == ["one"]


def test_a_broker_that_knows_of_kernels_budgets_alone_warns_too():
    assert new_warnings(view().model_copy(update={"budget_warning": "one"}), set()) == ["one"]


def test_a_users_limits_in_lines_keep_simulated_money_apart():
    limits = UserLimits(
        user="ada",
        month="2026-11",
        limits=[
            ScopeLimit(scope=BudgetScope.KERNEL, limit_nanodollars=5_000_000_000, set_by=SetBy.ADMIN, by="root"),
            ScopeLimit(scope=BudgetScope.USER, spent_nanodollars=0, spent_simulated_nanodollars=0),
            ScopeLimit(
                scope=BudgetScope.MONTH,
                limit_nanodollars=50_000_000_000,
                set_by=SetBy.USER,
                by="ada",
                spent_nanodollars=1_000_000_000,
                spent_simulated_nanodollars=51_000_000_000,
            ),
        ],
    )
    assert limit_text(limits, BudgetScope.KERNEL) == "each kernel: at most $5.0000 (set by root, an admin)"
    assert limit_text(limits, BudgetScope.USER) == "in all: no budget; $0.0000 spent"
    assert limit_text(limits, BudgetScope.MONTH, yours=False) == (
        "month 2026-11 (UTC): $49.00 of $50.00 left, $1.0000 spent; "
        "in simulated dollars, apart: $0.0000 of $50.00 left, $51.00 spent (set by ada)"
    )
