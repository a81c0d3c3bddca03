"""``%gpu bill``: its options, its table, the bars beneath it, and the receipt."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.wire.commands.bars import MOST_BARS, SHAPES, Bar, as_text, bars_of, cells
from perijove.wire.commands.bars_picture import as_html
from perijove.wire.commands.bill import BillOptions, BillReport, read_bill_options
from perijove.wire.commands.tables import duration_text, groups_table, total_text
from perijove.wire.errors import UsageError
from perijove.wire.models import Bill, BillGroup, BillLine, BudgetLeft, By, PhaseCosts, Receipt

WIDTH = 72


def line(number: int, *, simulated: bool = False, user: str = "ada") -> BillLine:
    return BillLine(
        id=f"lease-{number}", kernel="k", user=user, gpu="H100", count=1, agent="host-a", simulated=simulated,
        opened_at="2026-11-24T01:00:00.000Z", closed_at=None, starting_ms=10, busy_ms=900, idle_ms=90,
        price_microdollars_per_second=1000, cost_nanodollars=1_000_000,
    )  # fmt: skip


def group(key: str, real: tuple[int, int, int] = (0, 0, 0), simulated: tuple[int, int, int] = (0, 0, 0)) -> BillGroup:
    def phases(costs: tuple[int, int, int]) -> PhaseCosts:
        return PhaseCosts(starting_nanodollars=costs[0], busy_nanodollars=costs[1], idle_nanodollars=costs[2])

    return BillGroup(
        key=key,
        cost_nanodollars=sum(real),
        simulated_nanodollars=sum(simulated),
        cost_by_phase=phases(real),
        simulated_by_phase=phases(simulated),
    )


def bill(*groups: BillGroup, by: By = "day", **more: Any) -> Bill:
    return Bill(
        total_nanodollars=sum(g.cost_nanodollars for g in groups),
        simulated_nanodollars=sum(g.simulated_nanodollars for g in groups),
        by=by,
        groups=list(groups),
        **more,
    )


# options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], BillOptions()),
        (["--all"], BillOptions(everything=True)),
        (["--by", "gpu", "--all"], BillOptions(everything=True, by="gpu")),
        (["--embed"], BillOptions(embed=True)),
    ],
)
def test_options(words: list[str], options: BillOptions) -> None:
    assert read_bill_options(words) == options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["all"], "--all everything of yours"),
        (["--by"], "one of day, gpu"),
        (["--by", "week"], "one of day, gpu"),
        (["--all", "--embed"], "leave --all out"),
    ],
)
def test_what_cannot_be_read_says_what_can(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_bill_options(words)


# texts ----------------------------------------------------------------------------------------------------------------


def test_totals_keep_simulated_dollars_apart_and_say_what_was_saved() -> None:
    document = Bill(total_nanodollars=2_000_000, simulated_nanodollars=0, saved_nanodollars=30_000_000)
    assert total_text(document) == "total $0.0020 · releasing saved $0.0300"
    both = document.model_copy(update={"simulated_nanodollars": 1_000_000, "saved_simulated_nanodollars": 500_000})
    assert total_text(both) == (
        "total $0.0020 · simulated $0.0010, not in the total · releasing saved $0.0300 and $0.0005 simulated"
    )


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0.0 s"), (59_900, "59.9 s"), (60_000, "1m 00s"), (3_599_999, "59m 59s"), (9_132_000, "2h 32m")],
)
def test_durations(ms: int, text: str) -> None:
    assert duration_text(ms) == text


def test_groups_name_their_users_only_where_there_are_several() -> None:
    groups = [group("a.ipynb").model_copy(update={"user": user}) for user in ("ada", "bob")]
    assert groups_table(bill(*groups, by="notebook")).headings[:2] == ["notebook", "user"]
    assert groups_table(bill(groups[0], by="notebook")).headings[:2] == ["notebook", "starting"]
    assert groups_table(bill(group(""), by="notebook")).rows[0][0] == "(not known)"


def test_a_budget_of_a_kernel_is_below_the_table() -> None:
    left = BudgetLeft(
        kernel="k", user="ada", budget_nanodollars=500_000_000, spent_nanodollars=3_900_000,
        spent_simulated_nanodollars=3_900_000, left_nanodollars=496_100_000,
    )  # fmt: skip
    shown = repr(BillReport(bill(budgets=[left]), BillOptions()))
    assert "budget of kernel k: $0.4961 of $0.5000 left (spending in it is simulated)" in shown


def test_the_document_has_groups_only_when_they_were_asked_for() -> None:
    plain = Bill(total_nanodollars=0, simulated_nanodollars=0)
    assert {"by", "groups"} & plain.model_dump().keys() == set()
    assert bill().model_dump()["groups"] == []
    assert Bill.model_validate_json(bill(group("2026-11-24")).model_dump_json()) == bill(group("2026-11-24"))


# bars -----------------------------------------------------------------------------------------------------------------

parts = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))


@given(parts, st.integers(0, 10**13), st.integers(8, 200))
def test_a_bar_is_as_long_as_its_cost_and_shows_all_it_is_made_of(
    of: tuple[int, int, int], more: int, width: int
) -> None:
    bar = Bar("day", of, False)
    longest = bar.total + more
    counts = cells(bar, longest, width)
    assert min(counts) >= 0
    if bar.total:
        assert sum(counts) == max(1, round(bar.total * width / longest))
        if sum(counts) >= 6:
            assert all(count for count, part in zip(counts, of, strict=True) if part)
        assert not any(count for count, part in zip(counts, of, strict=True) if not part)
    else:
        assert sum(counts) == 0


def test_the_parts_can_be_told_apart_without_colours() -> None:
    assert len(set(SHAPES.values())) == 3
    drawn = bars_of(bill(group("2026-11-24", (100_000_000, 800_000_000, 100_000_000))))
    assert drawn is not None
    row = as_text(drawn, WIDTH).splitlines()[1]
    assert row.startswith("2026-11-24  $1.0000  ▚")
    assert "█░" in row
    assert all(len(text) <= WIDTH for text in as_text(drawn, WIDTH).splitlines())


def test_days_between_are_shown_and_simulated_dollars_have_bars_of_their_own() -> None:
    drawn = bars_of(bill(group("2026-11-22", (0, 5, 0)), group("2026-11-24", (0, 5, 0), (0, 7, 0))))
    assert drawn is not None
    assert [(bar.label, bar.total, bar.simulated) for bar in drawn.bars] == [
        ("2026-11-22", 5, False),
        ("2026-11-23", 0, False),
        ("2026-11-24", 5, False),
        ("2026-11-24", 7, True),
    ]
    assert "simulated" in as_text(drawn).splitlines()[-1]


def test_of_a_long_time_the_last_days_are_shown_and_it_says_so() -> None:
    drawn = bars_of(
        bill(group("1999-12-31", (0, 5, 0)), group("2026-01-01", (0, 5, 0)), group("2026-11-24", (0, 5, 0)))
    )
    assert drawn is not None
    assert len(drawn.bars) == MOST_BARS
    assert as_text(drawn).endswith("2 earlier days are not shown")


def test_where_nothing_was_spent_there_is_nothing_to_draw() -> None:
    assert bars_of(bill()) is None
    assert bars_of(Bill(total_nanodollars=0, simulated_nanodollars=0)) is None
    assert "svg" not in BillReport(bill(), BillOptions())._repr_html_()


def test_the_picture_is_well_formed_and_its_bars_are_named_and_to_scale() -> None:
    drawn = bars_of(bill(group('</svg><script>"$&', (1, 80_000_000, 20_000_000), (0, 5_000_000, 0)), by="notebook"))
    assert drawn is not None
    picture = as_html(drawn)
    root = ElementTree.fromstring(picture.replace("&nbsp;", " "))
    assert not [element for element in root.iter() if element.tag == "script"]
    real, simulated = [svg for svg in root.iter("svg") if svg.get("role") == "img"]
    assert "busy $0.0800, idle $0.0200" in real.attrib["aria-label"]
    assert "simulated" in simulated.attrib["aria-label"]
    widths = [float(rect.attrib["width"].removesuffix("%")) for rect in real.iter("rect")]
    assert widths == [0.5, 80.0, 20.0], "what cost anything is to be seen"
    ids = set(re.findall(r'id="([^"]+)"', picture))
    assert ids == set(re.findall(r"url\(#([^)]+)\)", picture))
    assert as_html(drawn) == picture, "the same bill is the same picture"


@pytest.mark.parametrize("by", ["day", "gpu"])
def test_without_its_svg_the_picture_is_still_a_table_of_amounts(by: By) -> None:
    """As JupyterLab shows it of a notebook that it does not trust: tags that it does not know go, their text stays."""
    drawn = bars_of(bill(group("2026-11-24", (1, 80_000_000, 20_000_000)), by=by))
    assert drawn is not None
    root = ElementTree.fromstring(as_html(drawn).replace("&nbsp;", " "))
    assert not ["".join(svg.itertext()) for svg in root.iter("svg") if "".join(svg.itertext())]
    assert ["".join(cell.itertext()) for cell in root.iter("td") if "".join(cell.itertext())] == [
        "2026-11-24",
        "$0.1000",
    ]
    for element in root.iter():
        assert "$" not in (element.text or "").replace("$", "", element.tag == "span"), "it might start a formula"


# the receipt ----------------------------------------------------------------------------------------------------------


def test_a_receipt_is_in_the_outputs_metadata_and_says_how_it_is_kept() -> None:
    document = bill(leases=[line(1, simulated=True)], as_of="2026-11-24T02:00:00.000Z")
    report = BillReport(document, BillOptions(embed=True))
    data, metadata = report._repr_mimebundle_()
    assert metadata["perijove"]["role"] == "receipt"
    receipt = Receipt.model_validate(metadata["perijove"])
    assert receipt.cost_nanodollars == receipt.simulated_nanodollars == 1_000_000
    assert receipt.simulated is True
    assert receipt.total_nanodollars == 0
    assert receipt.as_of == "2026-11-24T02:00:00.000Z"
    assert "ada" not in str(metadata)
    assert "saved with the notebook" in data["text/plain"]
    assert BillReport(document, BillOptions())._repr_mimebundle_()[1] == {}
