"""A budget as the notebook reads and shows it."""

import pytest
from perijove.magics.cell_options import parse_cell_line
from perijove.wire.commands.budget import budget_text, left_text, read_amount, spent_now, used_up_text
from perijove.wire.errors import UsageError
from perijove.wire.models import GrantedGpus, KernelState, KernelView, LeaseView


def view(*, budget=500_000_000, spent=3_900_000, simulated=False, state=KernelState.ATTACHED):
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
