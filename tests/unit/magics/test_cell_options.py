"""The line behind ``%%gpu``."""

import inspect

import pytest
from perijove.magics.cell_options import OPTIONS, parse_cell_line
from perijove.magics.gpu_magics import GpuMagics
from perijove.wire.errors import InvalidGpuSpec, UsageError


def test_all_options():
    options = parse_cell_line("H100:2 --in a,b --out y --keep big --kernel second --timeout 90 --no-vars --quiet")
    assert str(options.spec) == "H100:2"
    assert options.names_in == ("a", "b")
    assert (options.names_out, options.keep, options.kernel) == (("y",), ("big",), "second")
    assert (options.timeout_s, options.transfer, options.quiet) == (90.0, False, True)


def test_an_empty_line_means_the_same_gpu_as_before():
    options = parse_cell_line("")
    assert options.spec is None
    assert options.names_in is None
    assert options.transfer


def test_a_spec_with_alternatives_needs_no_quotes():
    assert str(parse_cell_line("H100|A100").spec) == "H100|A100"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("H100 --tiemout 5", "--tiemout"),
        ("H100 A100", "A100"),
        ("--in 1a", "'1a' is no variable's name"),
        ("--timeout soon", "soon"),
        ("--timeout -3", "positive"),
        ("'H100", "cannot be read"),
        ("H100 --env torch", "--env is not available in this version"),
    ],
)
def test_what_cannot_be_read_is_named(line, says):
    with pytest.raises(UsageError, match=says):
        parse_cell_line(line)


def test_a_bad_spec_says_how_to_write_one():
    with pytest.raises(InvalidGpuSpec, match="write a GPU spec like"):
        parse_cell_line("H100;2")


def test_the_help_has_every_option():
    text = inspect.getdoc(GpuMagics.run_cell)
    assert text is not None
    for option in OPTIONS:
        assert option in text
