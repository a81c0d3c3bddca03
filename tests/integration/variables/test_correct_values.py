"""Values arrive as what they were, in both directions: types, layouts, flags, sharing and identity."""

from __future__ import annotations

IMPORTS = """
import collections, dataclasses, datetime, decimal, enum, fractions, functools, io, pathlib, re, uuid
import numpy as np
"""

SAME_ARRAY = """
def same(a, b):
    assert type(a) is type(b), (type(a), type(b))
    assert a.dtype == b.dtype, (a.dtype, b.dtype)
    assert a.shape == b.shape and (a.strides == b.strides or not a.size), (a.strides, b.strides)
    assert a.flags.writeable == b.flags.writeable
    assert a.flags.c_contiguous == b.flags.c_contiguous and a.flags.f_contiguous == b.flags.f_contiguous
    if a.dtype.hasobject:
        assert a.tolist() == b.tolist()
    else:
        assert a.tobytes() == b.tobytes()
    return True
"""

ARRAYS = [
    "np.arange(10_000.)",
    "np.arange(12, dtype='>i4')",
    "np.arange(20_000, dtype='>f8').reshape(100, 200)",
    "np.asfortranarray(np.arange(20_000.).reshape(100, 200))",
    "np.arange(24_000.).reshape(20, 30, 40).transpose(1, 0, 2)[()]",
    "np.zeros((0, 3))",
    "np.array(5)",
    "np.array('2026-11-22', dtype='datetime64[s]')",
    "np.array(['NaT', '2026-01-01'], dtype='datetime64[ns]')",
    "np.array([1, 2], dtype='timedelta64[ms]')",
    "np.array([(1, 2.5, b'ab')], dtype=[('a', 'i4'), ('b', '>f8'), ('c', 'S3')])",
    "np.array([{'a': 1}, [2], None], dtype=object)",
    "np.array(['é', 'long text'])",
    "np.array([True, False])",
    "np.array([1+2j], dtype='complex64')",
    "np.float16([1.5])",
]


def test_arrays_keep_dtype_layout_and_flags(notebook):
    notebook.local(IMPORTS + SAME_ARRAY)
    for expression in ARRAYS:
        notebook.local(f"a = {expression}\na0 = a.copy(order='K')\nb = a.view()\nb.flags.writeable = False")
        assert notebook.gpu(f"same(a, {expression}) and not b.flags.writeable") is True, expression
        notebook.gpu(f"c = {expression}\nd = c.view()\nd.flags.writeable = False")
        assert notebook.local("same(c, a0) and not d.flags.writeable") is True, expression


def test_strided_and_masked_arrays_keep_their_values(notebook):
    notebook.local(
        IMPORTS + "s = np.arange(20_000)[::-2]\nm = np.ma.masked_array([1., 2.], [False, True], fill_value=-5.)"
    )
    assert notebook.gpu("s.tolist() == list(range(20_000))[::-2]") is True
    notebook.gpu("m2 = m * 2\nbroad = np.broadcast_to(np.arange(3.), (4, 3))")
    m2 = notebook.ns["m2"]
    assert m2.mask.tolist() == [False, True]
    assert m2.fill_value == -5.0
    assert notebook.ns["broad"].tolist() == [[0.0, 1.0, 2.0]] * 4


PLAIN = """
values = dict(
    text="é\\ud800", big=2**2000, nan=float("nan"), zero=-0.0, flags=re.compile("a+", re.I), path=pathlib.Path("/x"),
    when=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), money=decimal.Decimal("1.10"),
    half=fractions.Fraction(1, 2), ident=uuid.UUID(int=5), order=collections.OrderedDict(a=1),
    count=collections.Counter("aab"), queue=collections.deque([1, 2], maxlen=2), raw=bytearray(b"ab" * 20_000),
    many=b"x" * 100_000, frozen=frozenset({1, (2, 3)}), rng=range(3, 9, 2), cut=slice(1, None), nothing=None, dots=...,
    partial=functools.partial(int, base=2), stream=io.BytesIO(b"abc"),
)
"""


def test_plain_values_arrive_equal_both_ways(notebook):
    notebook.local(IMPORTS + PLAIN + "def show(v):\n    return {k: repr(x) for k, x in v.items() if k != 'stream'}")
    notebook.gpu("there = show(values)\nback = dict(values)")
    assert notebook.ns["there"] == notebook.local("show(values)") == notebook.local("show(back)")
    assert notebook.ns["back"]["stream"].getvalue() == b"abc"
    assert type(notebook.ns["back"]["raw"]) is bytearray


DEFINITIONS = """
Point = collections.namedtuple("Point", "x y")
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
class Flags(enum.IntFlag):
    A = 1
    B = 2
class Base:
    count = 0
    def __init__(self, n): self.n = n
    def hello(self): return f"base {self.n} {scale}"
class Child(Base):
    __slots__ = ("extra",)
    def hello(self): return "child " + super().hello()
    @property
    def double(self): return self.n * 2
    @classmethod
    def make(cls): return cls(9)
    @staticmethod
    def plain(): return scale
@dataclasses.dataclass(order=True)
class Record:
    a: int
    b: list = dataclasses.field(default_factory=list)
class Node:
    def __init__(self): self.me = self; self.kids = []
scale = 3
child = Child(4); child.extra = 5
record = Record(1, [2])
node = Node(); node.kids.append(node)
table = collections.defaultdict(lambda: scale)
"""


def test_classes_of_the_notebook_keep_identity_both_ways(notebook):
    notebook.local(IMPORTS + DEFINITIONS)
    assert notebook.gpu("isinstance(child, Child) and child.hello()") == "child base 4 3"
    notebook.gpu(
        "c2 = Child.make(); r2 = dataclasses.replace(record, a=7); p = Point(1, 2); e = Colour.BLUE\n"
        "f = Flags.A | Flags.B\nn2 = node; t2 = table; t2['new']; extra = child.extra"
    )
    ns = notebook.ns
    assert type(ns["c2"]) is ns["Child"]
    assert ns["c2"].double == 18
    assert type(ns["r2"]) is ns["Record"]
    assert ns["r2"] > ns["record"]
    assert type(ns["p"]) is ns["Point"]
    assert ns["e"] is ns["Colour"].BLUE
    assert ns["f"] == ns["Flags"](3)
    assert ns["n2"].me is ns["n2"].kids[0] is ns["n2"] is ns["node"]
    assert dict(ns["table"]) == {"new": 3}
    assert ns["t2"] is ns["table"]
    assert ns["extra"] == 5
    notebook.local("scale = 10")
    assert notebook.gpu("child.hello(), table['later'], Child.plain()") == ("child base 4 10", 10, 10)
    assert notebook.local("table['again']") == 10


def test_class_made_in_the_kernel_comes_back_with_its_instances(notebook):
    notebook.gpu("class Made:\n    def twice(self): return self.v * 2\nmade = Made(); made.v = 4")
    ns = notebook.ns
    assert type(ns["made"]) is ns["Made"]
    assert ns["made"].twice() == 8
    assert notebook.gpu("type(made) is Made") is True
    notebook.local("Made.twice = lambda self: 'changed'")
    assert notebook.gpu("made.twice()") == "changed"


def test_changed_class_attribute_returns(notebook):
    notebook.local("class C:\n    seen = []\n    n = 0\nc = C()")
    notebook.gpu("C.n += 1; C.seen.append(5)")
    assert notebook.ns["C"].n == 1
    assert notebook.ns["C"].seen == [5]
    assert type(notebook.ns["c"]) is notebook.ns["C"]


def test_functions_live_on_the_other_namespace(notebook):
    notebook.local(
        "import functools\n"
        "def deco(f):\n    @functools.wraps(f)\n    def inner(*a): return f(*a) + bonus\n    return inner\n"
        "bonus = 100\n"
        "@deco\ndef g(x): return x * factor\n"
        "factor = 2\n"
        "def counter():\n    n = 0\n    def tick():\n        nonlocal n\n        n += 1\n        return n\n"
        "    return tick\n"
        "tick = counter(); tick()\n"
        "@functools.lru_cache(maxsize=8)\ndef fib(n): return n if n < 2 else fib(n-1) + fib(n-2)\n"
        "def even(n): return n == 0 or odd(n - 1)\n"
        "def odd(n): return n != 0 and even(n - 1)\n"
        "f = lambda v, k=[1]: (v, k)\n"
    )
    assert notebook.gpu("factor = 5\ng(1), tick(), fib(20), even(10), f(1)") == (105, 2, 6765, True, (1, [1]))
    assert notebook.local("tick()") == 3
    assert notebook.local("g(1)") == 105
    assert notebook.gpu("fib.cache_info().maxsize") == 8
    notebook.gpu("def made(x): return x + factor + later")
    notebook.local("later = 1000")
    assert notebook.local("made(1)") == 1006
    assert notebook.gpu("made(1)") == 1006


def test_shared_objects_stay_shared(notebook):
    notebook.local("a = [1]\nb = {'a': a}\nc = (a, 5)\nloop = []\nloop.append(loop)")
    assert notebook.gpu("a.append(2)\nb['a'] is a and c[0] is a and loop[0] is loop") is True
    ns = notebook.ns
    assert ns["a"] == [1, 2]
    assert ns["b"]["a"] is ns["a"] is ns["c"][0]
    notebook.gpu("d = a\nd.append(3)")
    assert ns["d"] is ns["a"] is ns["b"]["a"]
    assert ns["a"] == [1, 2, 3]


def test_alias_that_the_cell_does_not_mention_follows(notebook):
    notebook.local("a = [1]\nalias = a\nholder = {'deep': [a]}")
    notebook.gpu("a.append(2)")
    assert notebook.ns["alias"] is notebook.ns["a"]
    assert notebook.ns["holder"]["deep"][0] is notebook.ns["a"]


pandas_cases = [
    "pd.DataFrame({'a': [1, 2], 'b': ['x', None], 'c': pd.Categorical(['u', 'v'])})",
    "pd.DataFrame({'t': pd.date_range('2026-01-01', periods=3, tz='Europe/Berlin')})",
    "pd.Series([1, None], dtype='Int64')",
    "pd.Series(['a', None], dtype='string[pyarrow]')",
    "pd.Series([True, None], dtype='boolean')",
    "pd.DataFrame({'v': [1., 2.]}, index=pd.MultiIndex.from_tuples([(1, 'a'), (2, 'b')], names=['n', 's']))",
    "pd.Series(pd.arrays.SparseArray([0, 0, 1]))",
    "pd.Series([1.5, 2], dtype='float64[pyarrow]')",
    "pd.DataFrame(np.arange(6.).reshape(2, 3)).T",
    "pd.Series(pd.interval_range(0, 3))",
    "pd.Series(pd.period_range('2026-01', periods=2, freq='M'))",
]


def test_frames(notebook):
    notebook.local(
        "import numpy as np, pandas as pd\nfrom pandas.testing import assert_frame_equal, assert_series_equal"
    )
    notebook.local("cases = [" + ",\n".join(pandas_cases) + "]")
    notebook.local(
        "def same(a, b):\n"
        "    (assert_frame_equal if isinstance(a, pd.DataFrame) else assert_series_equal)(a, b)\n    return True"
    )
    notebook.gpu("back = list(cases)\nok = [same(a, b) for a, b in zip(cases, [" + ", ".join(pandas_cases) + "])]")
    assert all(notebook.ns["ok"])
    assert notebook.local("[same(a, b) for a, b in zip(cases, back)]")
    notebook.gpu("df = pd.DataFrame({'a': np.arange(5)})\ndf2 = df.copy()\ndf2.loc[0, 'a'] = 9")
    notebook.local("df2.loc[1, 'a'] = 7")
    assert notebook.gpu("df2.a.tolist()") == [9, 7, 2, 3, 4]


def test_other_libraries(notebook):
    notebook.local("import polars as pl, pyarrow as pa, scipy.sparse as sp, numpy as np")
    notebook.local("f = pl.DataFrame({'a': [1, 2]})\nt = pa.table({'x': [1, 2]})\ns = sp.csr_matrix(np.eye(3))")
    notebook.gpu("f2 = f.with_columns(b=pl.col('a') * 2)\nt2 = t.slice(1)\ns2 = s * 2")
    ns = notebook.ns
    assert ns["f2"]["b"].to_list() == [2, 4]
    assert ns["t2"].to_pydict() == {"x": [2]}
    assert ns["s2"].toarray()[0, 0] == 2


def test_tensors(notebook):
    notebook.local(
        "import torch\nbase = torch.arange(10_000.)\nview = base[10:20]\nw = torch.ones(3, requires_grad=True)\n"
        "net = torch.nn.Linear(2, 2)\nbf = torch.ones(4, dtype=torch.bfloat16)\nlone = torch.zeros(10**6)[5:8]\n"
        "strided = torch.arange(6.).reshape(2, 3).t()\nsparse = torch.eye(3).to_sparse()\n"
        "c = torch.ones(2, dtype=torch.cfloat).conj()"
    )
    assert notebook.gpu("view[0] = -1\nfloat(base[10]), w.requires_grad, w.is_leaf") == (-1.0, True, True)
    ns = notebook.ns
    assert float(ns["base"][10]) == -1
    assert ns["view"].data_ptr() == ns["base"].data_ptr() + 40
    notebook.gpu(
        "(w * 2).sum().backward()\nout = net(torch.ones(2)).detach()\nb2 = bf * 2\n"
        "st = strided.clone()\nsp = sparse * 2"
    )
    assert ns["out"].shape == (2,)
    assert str(ns["b2"].dtype) == "torch.bfloat16"
    assert ns["sp"].to_dense()[1, 1] == 2
    assert notebook.gpu("lone.untyped_storage().nbytes(), strided.stride(), c.is_conj()") == (12, (1, 3), False)
    notebook.gpu("net.weight.data.fill_(3.)")
    assert float(ns["net"].weight.detach()[0, 0]) == 3
