"""Values to bytes and back, and what a fingerprint notices."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perijove.wire.values.examine import Examined
from perijove.wire.values.fingerprint import atom_fingerprint, digest
from perijove.wire.values.grouping import connected, group_values, partition
from perijove.wire.values.handles import Scope
from perijove.wire.values.packing import CannotPack, TooLarge, pack
from perijove.wire.values.survey import survey
from perijove.wire.values.unpacking import CannotUnpack, refuse_foreign_code, unpack


@pytest.fixture
def scope():
    return new_scope()


def new_scope():
    return Scope({"__name__": "__main__"}, lambda handle, about: ("held", handle))


def round_trip(value, scope, to=None):
    packed = pack([value], scope)
    stream = [bytearray(each) for each in packed.stream]
    return unpack(stream, [bytearray(each) for each in packed.views], to or scope)[0]


def plain_data():
    atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    return st.recursive(atoms, lambda some: st.lists(some) | st.dictionaries(st.text(), some) | st.tuples(some, some))


@given(plain_data())
def test_plain_data_round_trips_with_its_fingerprint(value):
    scope = new_scope()
    back = round_trip(value, scope)
    assert repr(back) == repr(value)
    found = survey(value, scope)
    before = Examined([value], scope, found.storages, is_plain=found.is_plain).fingerprint
    again = survey(value, scope)
    assert before == Examined([value], scope, again.storages, is_plain=again.is_plain).fingerprint


@given(st.lists(st.integers(), min_size=1), st.data())
def test_any_change_changes_the_fingerprint(items, data):
    scope = new_scope()
    before = Examined([items], scope, is_plain=True).fingerprint
    index = data.draw(st.integers(0, len(items) - 1))
    items[index] += 1
    assert Examined([items], scope, is_plain=True).fingerprint != before


def test_atoms_of_different_type_differ():
    different = [1, 1.0, True, "1", b"1", 0, 0.0, -0.0, False, None, "", 1 + 0j, 2**2000, -(2**2000)]
    assert len({atom_fingerprint(each) for each in different}) == len(different)


@pytest.mark.parametrize("index", [0, 70_000_000, -1])
def test_the_fingerprint_of_large_memory_sees_every_byte(index):
    memory = bytearray(70_000_001)
    before = digest(memory)
    memory[index] = 1
    assert digest(memory) != before


def test_arrays_differ_by_dtype_shape_order_and_flag(scope):
    base = np.arange(6, dtype="<i4")
    read_only = base.copy()
    read_only.flags.writeable = False
    square = np.arange(4).reshape(2, 2)
    fortran = np.asfortranarray(square)
    different = [base, base.astype(">i4"), base.reshape(2, 3), base.view("f4"), read_only, square, fortran]
    assert len({Examined([each], scope).fingerprint for each in different}) == len(different)


def test_large_memory_is_apart_and_small_is_not(scope):
    assert [view.nbytes for view in pack([np.zeros(10_000)], scope).views] == [80_000]
    assert pack([np.zeros(10)], scope).views == []


def test_received_arrays_are_writable_and_sit_on_the_received_memory(scope):
    packed = pack([np.arange(10_000)], scope)
    memory = bytearray(packed.views[0])
    (array,) = unpack(packed.stream, [memory], scope)
    array[0] = 5
    assert memory[0] == 5


def test_limit_stops_early(scope):
    with pytest.raises(TooLarge):
        pack([np.zeros(10_000)], scope, limit=1_000)
    with pytest.raises(TooLarge):
        pack([["x" * 100] * 3, bytes(100_000)], scope, limit=1_000)


def test_functions_move_to_the_other_namespace(scope):
    exec("def f(x): return x + y", scope.user_ns)
    other = new_scope()
    other.user_ns["y"] = 10
    moved = round_trip(scope.user_ns["f"], scope, other)
    assert moved.__globals__ is other.user_ns
    assert moved(1) == 11
    other.user_ns["y"] = 20
    assert moved(1) == 21
    assert "__builtins__" not in other.user_ns or other.user_ns["__builtins__"] is not None


def test_closures_keep_cells_and_recursion(scope):
    code = "def make():\n    n = [0]\n    def rec(k): return n if not k else rec(k - 1)\n    return rec\nrec = make()"
    exec(code, scope.user_ns)
    moved = round_trip(scope.user_ns["rec"], scope, new_scope())
    assert moved(3) == [0]


def test_named_classes_travel_by_name_and_identity(scope):
    exec("class C:\n    pass\nc = C()", scope.user_ns)
    packed = pack([scope.user_ns["c"]], scope)
    assert not packed.has_code
    assert type(round_trip(scope.user_ns["c"], scope)) is scope.user_ns["C"]
    assert pack([scope.user_ns["C"]], scope).has_code


def test_a_class_looks_the_same_after_use(scope):
    exec("class C:\n    def f(self): return 1\nc = C()", scope.user_ns)
    before = pack([scope.user_ns["C"]], scope).fingerprint()
    scope.user_ns["c"].f()
    pack([scope.user_ns["c"]], scope)
    assert pack([scope.user_ns["C"]], scope).fingerprint() == before


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: (i for i in ()), "a generator"),
        (threading.Lock, "a lock"),
        (threading.current_thread, "a thread"),
        (Path(__file__).open, "an open file"),
    ],
)
def test_what_is_bound_to_its_process_is_refused_at_any_depth(scope, make, why):
    value = make()
    try:
        with pytest.raises(CannotPack, match=why):
            pack([{"deep": [value]}], scope)
    finally:
        if hasattr(value, "close"):
            value.close()


def test_nothing_pickled_or_loaded_is_kept_alive(scope):
    """A (un)pickler that lives until the garbage collector comes by would hold GPU memory that the user freed."""
    value = np.zeros(10_000)
    odd = {1, 2}, threading.Lock(), value
    gone = weakref.ref(value), weakref.ref(odd[0])
    gc.disable()
    try:
        with pytest.raises(CannotPack):
            pack([odd], scope)
        pack([[value]], scope).fingerprint()
        survey(odd, scope)
        exec("def f(): pass", scope.user_ns)
        loaded = round_trip([scope.user_ns["f"], np.zeros(10_000)], scope)
        gone = (*gone, weakref.ref(loaded[1]))
        del value, odd, loaded
        assert [each() for each in gone] == [None, None, None]
    finally:
        gc.enable()


def test_foreign_code_is_refused_and_data_is_not():
    refuse_foreign_code({"code": False}, [3, 99])
    with pytest.raises(CannotUnpack, match=r"Python 3\.99"):
        refuse_foreign_code({"code": True}, [3, 99])


def test_survey_finds_names_and_sharing(scope):
    exec("def f(): return g(h)\nclass C:\n    def m(self): return k\nc = C()", scope.user_ns)
    assert survey(scope.user_ns["f"], scope).names == {"g", "h"}
    assert survey(scope.user_ns["c"], scope).names == {"C"}
    assert survey(scope.user_ns["C"], scope).names >= {"k"}
    shared = [1]
    values = {"a": shared, "b": {"x": (shared,)}, "c": [2], "d": 5}
    surveys = {name: survey(value, scope) for name, value in values.items()}
    assert {group.names for group in group_values(values, surveys)} == {("a", "b"), ("c",), ("d",)}


def test_survey_stops_at_its_budget(scope):
    deep = [[[i]] for i in range(1000)]
    assert not survey(deep, scope, budget=10).complete
    assert survey(deep, scope).complete


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.frozensets(st.integers(0, 9))))
def test_groups_partition_and_share_nothing(nodes):
    groups = partition(nodes)
    assert sorted(name for group in groups for name in group) == sorted(nodes)
    seen: set[int] = set()
    for group in groups:
        mine = frozenset().union(*(nodes[name] for name in group))
        assert seen.isdisjoint(mine)
        seen |= mine
    for name in nodes:
        assert connected({name}, nodes) == set(next(group for group in groups if name in group))
