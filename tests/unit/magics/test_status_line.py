"""The line under a cell: what it says, and what it never leaves out."""

from perijove.magics.status_line import cell_status
from perijove.wire.models import GrantedGpus, KernelState, KernelView, LeaseView


def view(*, simulated=False, keeps_state=True):
    return KernelView(
        id="k",
        name="perijove",
        state=KernelState.ATTACHED,
        gpu_spec="H100",
        gpus=GrantedGpus(model="H100", count=1, simulated=simulated, uuids=["u"], agent_id="a", agent_name="host-a"),
        lease=LeaseView(id="lease", price_microdollars_per_second=1097, count=1, starting_ms=15),
        idle_timeout_s=60.0 if keeps_state else 600.0,
        keeps_state=keeps_state,
    )


def test_the_line_of_the_design():
    line = cell_status(view(), "H100", attach_s=0.02, ran_ms=3400, notices=[])
    assert line.text == (
        "H100 · attached 0.02 s · ran 3.4 s · $0.0037 · released 60 s after the last cell, variables kept"
    )
    assert line.facts["cost_nanodollars"] == 1097 * 3415


def test_simulated_dollars_are_called_simulated():
    line = cell_status(view(simulated=True), "H100 (simulated)", attach_s=0.02, ran_ms=3400, notices=[])
    assert "$0.0037 simulated" in line.text
    assert line.facts["simulated"] is True


def test_a_release_that_would_lose_the_variables_says_so():
    line = cell_status(
        view(keeps_state=False), "H100", attach_s=None, ran_ms=0, notices=["the link was down for 2.0 s"]
    )
    assert "released 600 s after the last cell, variables lost then" in line.text
    assert "attached" not in line.text  # it was attached before this cell
    assert line.text.endswith("the link was down for 2.0 s")
