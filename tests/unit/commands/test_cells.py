"""Which cells are only ``%gpu`` lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.wire.commands.cells import command_text, gpu_lines


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("%gpu", ("",)),
        ("  %gpu status", ("status",)),
        ("%gpu attach H100\n\n# and\n%gpu bill --all\n", ("attach H100", "bill --all")),
        ("%gpu status\r\n\t%gpu list\r\n", ("status", "list")),
        ("%gpu status # where it stands", ("status",)),
        ("%gpu # where it stands", ("",)),
        ("%gpu list;", ("list",)),
        ("%gpu list; # quietly", ("list",)),
        ("# a comment goes on in no next line \\\n%gpu", ("",)),
    ],
)
def test_lines_come_in_order_and_bare(code: str, lines: tuple[str, ...]) -> None:
    assert gpu_lines(code) == lines


def test_a_backslash_joins_lines() -> None:
    lines = gpu_lines("%gpu attach \\\n  H100")
    assert lines is not None
    assert [line.split() for line in lines] == [["attach", "H100"]]


@pytest.mark.parametrize("code", ["", " \n\t\n", "# nothing", "  # nothing\n\n"])
def test_a_cell_with_nothing_in_it_has_no_lines(code: str) -> None:
    assert gpu_lines(code) == ()


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        "%gpu\nx = 1",
        "x = 1\n%gpu",
        "x = %gpu",
        "%gpu?",
        "?%gpu",
        "%%gpu",
        "%%gpu H100\nx = 1",
        "%gpus",
        "!ls",
        "%time f()",
        '"""\n%gpu\n"""',
        "%gpu status\u2028x = 1",
        "# a comment\x0cx = 1",
    ],
)
def test_any_other_code_makes_it_another_cell(code: str) -> None:
    assert gpu_lines(code) is None


BLANKS = st.sampled_from(["", "  ", "\t", "# a comment", "   # %gpu release"])
COMMANDS = st.lists(st.text("abcH0123:|-.$", min_size=1), max_size=3).map(" ".join)


@given(st.lists(st.one_of(BLANKS.map(lambda line: (line, None)), COMMANDS.map(lambda text: (f" %gpu {text}", text)))))
def test_what_is_written_is_read(cell: list[tuple[str, str | None]]) -> None:
    code = "\n".join(line for line, _ in cell)
    assert gpu_lines(code) == tuple(text for _, text in cell if text is not None)


@given(st.lists(st.one_of(BLANKS, COMMANDS.map("%gpu {}".format))), st.data())
def test_one_line_of_code_anywhere_is_enough(lines: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(lines)))
    assert gpu_lines("\n".join([*lines[:place], "x = 1", *lines[place:]])) is None


@given(st.text())
def test_any_text_is_a_cell_and_its_lines_are_bare(code: str) -> None:
    for line in gpu_lines(code) or ():
        assert line == command_text(line)
