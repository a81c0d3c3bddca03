"""Which names a cell reads, binds, deletes and imports."""

from __future__ import annotations

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from perijove.magics.variables.analysis import analyze


def names(cell):
    return analyze(cell, TransformerManager().transform_cell)


@pytest.mark.parametrize(
    ("cell", "reads"),
    [
        ("y = x + 1", {"x"}),
        ("x = 1\ny = x", set()),
        ("y = x\nx = 1", {"x"}),
        ("x += 1", {"x"}),
        ("x[0] = y", {"x", "y"}),
        ("x.a = 1", {"x"}),
        ("del x", {"x"}),
        ("for x in xs: print(x)", {"xs", "x"}),
        ("if c:\n    x = 1\nprint(x)", {"c", "x"}),
        ("try:\n    x = f()\nexcept E:\n    pass\nx", {"f", "E", "x"}),
        ("def f(a, b=d): return a + g + b\n", {"d", "g"}),
        ("g = 1\ndef f(): return g", set()),
        ("def f(): return g\ng = 1", {"g"}),
        ("f = lambda q: q + w", {"w"}),
        ("[i for i in xs if i > lo]", {"xs", "lo"}),
        ("class A(B):\n    z = z\n    def m(self): return C", {"B", "z", "C"}),
        ("def f():\n    global n\n    n += 1", {"n"}),
        ("with open(p) as h: h.read()", {"p", "h"}),
        ("(n := 5) + m", {"m"}),
        ("import os\nos.getcwd()", set()),
        ("await thing", {"thing"}),
        ("async for i in aiter_: pass", {"aiter_"}),
        ("a, b = b, a", {"a", "b"}),
        ("match v:\n    case {'k': w}: print(w)", {"v", "w"}),
        ("f'{u}'", {"u"}),
        ("x: int = 3\nx", set()),
        ("@deco\ndef f(): pass", {"deco"}),
        ("return 5", set()),
        ("x = (", set()),
        ("", set()),
    ],
)
def test_reads(cell, reads):
    assert names(cell).reads - {"print", "open", "int", "aiter"} == reads


@pytest.mark.parametrize(
    ("cell", "reads", "hints"),
    [
        ("%timeit -n 10 -r 3 f(x)", {"f", "x"}, set()),
        ("%time y = f(x)", {"f", "x"}, set()),
        ("%%timeit\nf(x)", {"f", "x"}, set()),
        ("%%time\nz = q", {"q"}, set()),
        ("%%capture out\nprint(v)", {"v"}, set()),
        ("!ls {folder} $other ${third}", set(), {"folder", "other", "third"}),
        ("files = !ls {base / 'x'}", set(), {"base"}),
        ("%cd {where}", set(), {"where"}),
        ("obj?", set(), {"obj"}),
        ("%%bash -s {arg}\necho $HOME", set(), {"arg", "HOME"}),
    ],
)
def test_magics(cell, reads, hints):
    found = names(cell)
    assert found.reads - {"print", "get_ipython"} == reads
    assert hints <= found.hints


def test_writes_deletes_and_imports():
    found = names(
        "a = 1\nb, (c, *d) = x\nfor e in y: pass\nimport f.g, h as i\nfrom j.k import l as m\n"
        "def n(): o = 1\nclass p: pass\nwith q as r: pass\ndel s, t[0]\ntry: pass\nexcept E as u: pass\n"
    )
    assert found.writes == set("abcdefimnpru")
    assert found.deletes == {"s"}
    assert found.imports == {"f.g", "h", "j.k", "j.k.l"}


def test_capture_binds_its_target_and_bodies_bind_theirs():
    assert {"out", "w"} <= names("%%capture out\nw = 1").writes


def test_attributes_are_collected():
    assert {"dom", "minidom"} <= names("xml.dom.minidom.parse(f)").attributes
