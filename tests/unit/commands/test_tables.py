"""``%gpu list`` and ``%gpu bill``."""

from perijove.wire.commands.tables import Table, bill_table, gpu_table
from perijove.wire.models import Bill, BillLine

GPU = {"model": "H100", "agent_name": "host-a", "memory_bytes": 80 * 2**30, "price_microdollars_per_second": 1097}


def test_gpus_are_counted_by_model_and_agent():
    simulated = {**GPU, "model": "T4", "state": "free", "simulated": True}
    gpus = [{**GPU, "state": "free"}, {**GPU, "state": "held"}, simulated]
    table = gpu_table(gpus, "http://127.0.0.1:1")
    assert table.rows[0] == ["H100", "80 GiB", "2", "1", "$3.9492/h", "host-a"]
    assert table.rows[1][0] == "T4 (simulated)"
    assert table.rows[1][4].endswith("simulated")


def test_gpus_in_trouble_are_named_with_why():
    ill = {**GPU, "place": "0", "state": "unhealthy", "reason": "Xid 79: the GPU has fallen off the bus (12:03 UTC)"}
    held = {**GPU, "place": "1", "state": "held", "reason": "Xid 48: a memory error"}
    fine = {**GPU, "place": "2", "state": "foreign", "reason": "in use by process 1"}
    note = gpu_table([ill, held, fine], "http://127.0.0.1:1").note.splitlines()
    assert note == [
        "H100 0 on host-a is unhealthy: Xid 79: the GPU has fallen off the bus (12:03 UTC)",
        "H100 1 on host-a is held, and takes nothing new: Xid 48: a memory error",
        "broker: http://127.0.0.1:1",
    ]
    assert gpu_table([ill] * 8, None).note.splitlines()[5] == "and 3 more in trouble"


def test_without_gpus_the_table_says_how_to_get_or_simulate_one():
    text = repr(gpu_table([], "http://127.0.0.1:1"))
    assert "perijove agent --broker" in text
    assert "--simulate H100:2" in text


def test_a_bill_keeps_simulated_dollars_apart():
    line = BillLine(
        id="l", kernel="k", user="u", gpu="H100", count=2, agent="host-a", simulated=True,
        opened_at="2026-11-22T10:00:00Z",
        closed_at=None, starting_ms=10, busy_ms=1000, idle_ms=0, price_microdollars_per_second=1097,
        cost_nanodollars=2_215_940,
    )  # fmt: skip
    table = bill_table(Bill(total_nanodollars=0, simulated_nanodollars=2_215_940, leases=[line]))
    assert table.rows[0][1] == "2 × H100 (simulated)"
    assert table.note == "total $0.0000 · simulated $0.0022, not in the total"


def test_html_shows_names_as_text():
    assert "<script>" not in Table(["a"], [["<script>"]], "<b>")._repr_html_()
    assert Table(["a"], [["b"]], "one\n<two>")._repr_html_().endswith("<div>one</div><div>&lt;two&gt;</div>")
