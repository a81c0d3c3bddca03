"""What travels with functions, classes and exceptions besides their code."""

from __future__ import annotations

import inspect
import linecache
import typing
from typing import Any

import pytest
from perijove.wire.values.handles import Scope
from perijove.wire.values.packing import pack
from perijove.wire.values.sources import learn_sources, sources_of
from perijove.wire.values.survey import survey
from perijove.wire.values.unpacking import unpack

CELL = "/tmp/ipykernel_1/1.py"


@pytest.fixture
def scope():
    return Scope({"__name__": "__main__"}, lambda handle, about: ("held", handle))


def run_cell(code: str, scope: Scope) -> dict[str, Any]:
    linecache.cache[CELL] = (len(code), None, code.splitlines(keepends=True), CELL)
    exec(compile(code, CELL, "exec"), scope.user_ns)  # the cells of a notebook
    return scope.user_ns


def round_trip(values: list[Any], scope: Scope) -> list[Any]:
    packed = pack(values, scope)
    return unpack([bytes(each) for each in packed.stream], [bytearray(each) for each in packed.views], scope)


def test_closures_go_on_sharing_their_variable(scope):
    names = run_cell(
        "def make():\n    n = 0\n    def step():\n        nonlocal n\n        n += 1\n    return step, lambda: n\n"
        "step, peek = make()",
        scope,
    )
    step, peek = round_trip([names["step"], names["peek"]], scope)
    step()
    assert peek() == 1
    assert survey(names["step"], scope).nodes & survey(names["peek"], scope).nodes


def test_code_knows_its_cell(scope):
    """By the file's name, inner functions' and classes' too: tracebacks show the source by it."""
    names = run_cell(
        "def f():\n    def g():\n        return 1\n    return g\n"
        "class C:\n    def m(self):\n        return [x for x in ()]\n",
        scope,
    )
    f, made = round_trip([names["f"], names["C"]], scope)
    assert f.__code__ == names["f"].__code__
    for code in (f.__code__, f().__code__, made.m.__code__):
        assert code.co_filename == CELL
    assert list(f.__code__.co_positions()) == list(names["f"].__code__.co_positions())


def test_a_closure_may_hold_itself(scope):
    names = run_cell("def make():\n    def f():\n        return f\n    return f\nf = make()", scope)
    (back,) = round_trip([names["f"]], scope)
    assert back() is back


def test_the_text_of_a_cell_travels(scope):
    names = run_cell("def documented():\n    return 'text'", scope)
    sources = sources_of(pack([names["documented"]], scope).filenames)
    del linecache.cache[CELL]
    learn_sources(sources)
    assert inspect.getsource(names["documented"]) == "def documented():\n    return 'text'"


def test_files_on_disk_do_not_travel():
    linecache.getlines(__file__)
    assert sources_of([__file__, "<nowhere>"]) == {}


def test_an_exception_is_not_initialised_again(scope):
    names = run_cell(
        "class Problem(Exception):\n    def __init__(self, code):\n        super().__init__(f'code {code}')", scope
    )
    error = names["Problem"](5)
    error.add_note("noted")
    error.__cause__ = OSError(2, "No such file", "name")
    (back,) = round_trip([error], scope)
    assert (back.args, back.__notes__) == (("code 5",), ["noted"])
    assert (type(back.__cause__), back.__cause__.filename) == (FileNotFoundError, "name")
    assert back.__suppress_context__


@pytest.mark.parametrize(
    "error",
    [UnicodeDecodeError("utf8", b"x", 0, 1, "why"), SystemExit(3), StopIteration([1]), ImportError("no", name="m")],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_with_more_than_arguments(error, scope):
    (back,) = round_trip([error], scope)
    assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))


def test_exceptions_may_refer_to_each_other(scope):
    one, two = ValueError("one"), KeyError("two")
    one.__context__, two.__context__ = two, one
    back = round_trip([one, two], scope)
    assert back[0].__context__ is back[1]
    assert back[1].__context__ is back[0]


def test_a_deleted_attribute_of_a_class_is_gone(scope):
    names = run_cell("class A:\n    def f(self): ...\n    kept = 1", scope)
    packed_without = names["A"]
    function = names["A"].f
    del names["A"].f
    packed = pack([packed_without], scope)
    names["A"].f = function  # as it still is on the other side
    unpack([bytes(each) for each in packed.stream], [], scope)
    assert not hasattr(names["A"], "f")
    assert names["A"].kept == 1


def test_new_types(scope):
    names = run_cell("import typing\nUserId = typing.NewType('UserId', int)", scope)
    (back,) = round_trip([names["UserId"]], scope)
    assert (type(back), back.__name__, back.__supertype__) == (typing.NewType, "UserId", int)
