"""What ``%gpu`` says of a kernel, when the broker last spoke of it a while ago."""

from perijove.wire.commands.status import status_row
from perijove.wire.models import GrantedGpus, KernelState, KernelView, LeaseView


def test_cost_and_countdown_go_on_since_the_broker_spoke():
    view = KernelView(
        id="k",
        name="perijove",
        state=KernelState.ATTACHED,
        gpu_spec="H100",
        gpus=GrantedGpus(model="H100", count=2, simulated=False, uuids=["u", "v"], agent_id="a", agent_name="host-a"),
        lease=LeaseView(id="lease", price_microdollars_per_second=1000, count=2, starting_ms=0, cost_nanodollars=10**9),
        release_in_s=60.0,
    )
    assert status_row(view, 0.0, "") == [
        *("attached", "2 × H100", "host-a", "$1.0000", "idle, released in 60 s, variables kept")
    ]
    assert status_row(view, 20.0, "")[3:] == ["$1.0400", "idle, released in 40 s, variables kept"]
    assert status_row(view, 90.0, "")[4].startswith("idle, released in 0 s")
