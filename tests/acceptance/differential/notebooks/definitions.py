"""Functions, classes and modules: defined on one side, used on the other."""

from __future__ import annotations

from ..notebook import gpu, local, notebook, old_results

_HELPER = '''"""A module beside the notebook."""

COUNT = [0]


def add(a, b):
    """Adds."""
    COUNT[0] += 1
    return a + b


class Thing:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"Thing({self.name!r})"
'''

NOTEBOOKS = (
    notebook(
        "functions-defined-here-used-there",
        local("""
            factor = 2
            def scale(x, by=3, *more, extra=None, **others) -> "int":
                '''Scales.'''
                return x * factor * by
            scale.tag = ["attribute"]
            square = lambda x: x ** 2
            def recursive(n):
                return 1 if n < 2 else n * recursive(n - 1)
        """),
        gpu("scale(5), square(3), recursive(5), scale.tag, scale.__doc__, scale.__name__, scale.__module__"),
        local("factor = 10"),
        gpu("scale(5)"),
        gpu("factor = 100"),
        local("scale(5)"),
        gpu("scale.tag.append('there')\nscale.__defaults__ = (7,)"),
        local("scale.tag, scale(1)"),
        gpu("scale.__globals__ is globals(), square is square"),
        differs=old_results(2),
    ),
    notebook(
        "functions-defined-there-used-here",
        gpu("""
            offset = 1
            def shift(x):
                return x + offset
            def calls_other(x):
                return shift(x) * 2
            twice = lambda x: shift(shift(x))
        """),
        local("shift(1), calls_other(1), twice(1), shift.__module__, shift.__globals__ is globals()"),
        local("offset = 50"),
        local("shift(1)"),
        gpu("shift(1), twice(0)"),
        local("def shift(x):\n    return 'redefined here'"),
        gpu("calls_other(1)"),
        gpu("def shift(x):\n    return 'redefined there'"),
        local("calls_other(1)"),
    ),
    notebook(
        "closures-and-counters",
        local("""
            def make_counter():
                count = 0
                def step():
                    nonlocal count
                    count += 1
                    return count
                def peek():
                    return count
                return step, peek
            step, peek = make_counter()
            step()
        """),
        gpu("step(), step(), peek()"),
        local("peek(), step()"),
        gpu("peek()"),
        gpu("other_step, other_peek = make_counter()\nother_step()"),
        local("other_step(), other_peek(), peek()"),
    ),
    notebook(
        "decorators-and-partials",
        local("""
            import functools
            calls = []
            def logged(f):
                @functools.wraps(f)
                def wrapper(*args, **kwargs):
                    calls.append(f.__name__)
                    return f(*args, **kwargs)
                return wrapper
            @logged
            def work(x):
                '''Works.'''
                return x + 1
            add_five = functools.partial(lambda a, b: a + b, 5)
            @functools.lru_cache(maxsize=None)
            def cached(n):
                return n * 2
        """),
        gpu("work(1), add_five(2), cached(4), work.__doc__, work.__wrapped__.__name__"),
        local("calls"),
        gpu("@logged\ndef more(x):\n    return -x\nmore(3)"),
        local("more(4), calls"),
        gpu("import operator\nget = operator.itemgetter(1)\nmethod = 'text'.upper\nbound = calls.append"),
        local("get('ab'), method()"),
        local("bound('through bound')\ncalls[-1]"),
        differs=old_results(3, 5),
    ),
    notebook(
        "classes-defined-here-used-there",
        local("""
            class Base:
                shared = []
                def __init__(self, n):
                    self.n = n
                def double(self):
                    return self.n * 2
                @property
                def half(self):
                    return self.n / 2
                @classmethod
                def make(cls):
                    return cls(1)
                @staticmethod
                def static():
                    return "static"
            class Child(Base):
                __slots__ = ("extra",)
                def double(self):
                    return super().double() + 1
            one = Child(5)
        """),
        gpu("one.double(), one.half, Child.make().n, Child.static(), isinstance(one, Base), type(one) is Child"),
        gpu("two = Child(7)\none.n = 6\nBase.shared.append('there')"),
        local("type(two) is Child, two.double(), one.n, Base.shared, Child.__mro__[1] is Base"),
        local("def triple(self):\n    return self.n * 3\nBase.triple = triple"),
        gpu("one.triple(), two.triple()"),
        gpu("Child.added = classmethod(lambda cls: cls.__name__)"),
        local("Child.added(), one.added()"),
        gpu("one.__class__ = Child\ndel Base.static"),
        local("type(one) is Child, hasattr(Base, 'static')"),
        differs=old_results(4),
    ),
    notebook(
        "classes-defined-there-used-here",
        gpu("""
            class Model:
                registry = {}
                def __init__(self, weight):
                    self.weight = weight
                    Model.registry[weight] = self
                def __call__(self, x):
                    return self.weight * x
                def __eq__(self, other):
                    return isinstance(other, Model) and other.weight == self.weight
                def __hash__(self):
                    return hash(self.weight)
            model = Model(3)
        """),
        local("model(2), type(model) is Model, Model.registry[3] is model, Model(4)(1), model == Model(3)"),
        gpu("sorted(Model.registry), model(5), {model: 1}[Model(3)]"),
        local(
            "class Better(Model):\n    def __call__(self, x):\n        return super().__call__(x) + 1\n"
            "better = Better(2)"
        ),
        gpu("better(10), isinstance(better, Model), Better.__bases__[0] is Model"),
    ),
    notebook(
        "classes-of-many-kinds",
        local("""
            import enum, dataclasses, collections, typing, abc
            class Colour(enum.Enum):
                RED = 1
                BLUE = "b"
            class Flags(enum.IntFlag):
                A = 1
                B = 2
            @dataclasses.dataclass(order=True)
            class Row:
                a: int
                b: list = dataclasses.field(default_factory=list)
            @dataclasses.dataclass(frozen=True, slots=True)
            class Frozen:
                x: float
            Pair = collections.namedtuple("Pair", "left right")
            class Typed(typing.NamedTuple):
                n: int
                s: str = "x"
            class Shape(abc.ABC):
                @abc.abstractmethod
                def area(self): ...
            class Square(Shape):
                def area(self):
                    return 4
            T = typing.TypeVar("T")
            class Box(typing.Generic[T]):
                def __init__(self, item: T):
                    self.item = item
        """),
        gpu("colour, flags, row, frozen = Colour.RED, Flags.A | Flags.B, Row(1), Frozen(1.5)\nrow.b.append(2)"),
        gpu("pair, typed, square, box = Pair(1, [2]), Typed(3), Square(), Box[int](5)"),
        local("colour is Colour.RED, flags, row, row == Row(1, [2]), frozen, pair, typed, square.area(), box.item"),
        local("type(row) is Row, type(pair) is Pair, isinstance(square, Shape), Colour('b') is Colour.BLUE"),
        gpu("colour is Colour.RED, colour in {Colour.RED: 1}, row, pair.left, Shape()"),
        gpu(
            "class Size(enum.Enum):\n    BIG = 10\nsize = Size.BIG\n@dataclasses.dataclass\n"
            "class Made:\n    v: Size\nmade = Made(size)"
        ),
        local("size is Size.BIG, made, made.v is Size.BIG"),
    ),
    notebook(
        "classes-redefined",
        local("class A:\n    version = 1\nold = A()"),
        gpu("old.version, type(old) is A"),
        local("class A:\n    version = 2\nnew = A()"),
        gpu("old.version, new.version, type(old) is A, type(new) is A"),
        gpu("class A:\n    version = 3\nnewest = A()"),
        local("old.version, new.version, newest.version, type(newest) is A, type(new) is A"),
    ),
    notebook(
        "classes-with-metaclasses-and-descriptors",
        local("""
            class Meta(type):
                def __new__(mcls, name, bases, members):
                    members["made_by"] = mcls.__name__
                    return super().__new__(mcls, name, bases, members)
            class Positive:
                def __set_name__(self, owner, name):
                    self.name = "_" + name
                def __get__(self, instance, owner=None):
                    return self if instance is None else getattr(instance, self.name)
                def __set__(self, instance, value):
                    if value < 0:
                        raise ValueError("negative")
                    setattr(instance, self.name, value)
            class Checked(metaclass=Meta):
                size = Positive()
            checked = Checked()
            checked.size = 4
        """),
        gpu("checked.size, Checked.made_by, type(Checked) is Meta"),
        gpu("checked.size = -1"),
        gpu("checked.size = 9\nclass Sub(Checked): pass\nsub = Sub()\nsub.size = 1"),
        local("checked.size, sub.size, Sub.made_by, type(Sub) is Meta"),
    ),
    notebook(
        "classes-with-their-own-pickling",
        local("""
            class Own:
                def __init__(self, n):
                    self.n, self.cache = n, lambda: n
                def __getstate__(self):
                    return {"n": self.n}
                def __setstate__(self, state):
                    self.__init__(state["n"])
            own = Own(3)
        """),
        gpu("own.n, own.cache()"),
        gpu("made = Own(4)"),
        local("made.n, made.cache(), own.n"),
    ),
    notebook(
        "exceptions-as-values",
        local(
            "class Problem(Exception):\n    def __init__(self, code, extra=None):\n"
            "        super().__init__(f'code {code}')\n"
            "        self.code = code"
        ),
        gpu(
            "problem = Problem(5)\nplain = ValueError('a', 1)\nplain.add_note('noted')\nwith_cause = KeyError('k')\n"
            "with_cause.__cause__ = plain"
        ),
        local("problem.args, problem.code, plain.args, plain.__notes__, with_cause.__cause__ is plain"),
        gpu("errors = [OSError(2, 'No such file', 'name'), UnicodeDecodeError('utf8', b'x', 0, 1, 'why')]"),
        local("[str(error) for error in errors], errors[0].filename"),
    ),
    notebook(
        "modules-and-aliases",
        local("import json as j, os.path, collections.abc\nfrom math import pi as circle, sqrt"),
        gpu("j.dumps({'a': 1}), os.path.join('a', 'b'), circle, sqrt(4), collections.abc.Sized.__name__"),
        gpu("import textwrap as t, xml.etree.ElementTree as tree\nfrom string import ascii_letters, Template"),
        local("t.dedent(' x'), tree.fromstring('<a/>').tag, ascii_letters[:3], Template('$a').substitute(a=1)"),
        gpu("from datetime import datetime, timedelta\nspan = timedelta(1)"),
        local("span, datetime(2024, 1, 1)"),
        gpu("j is __import__('json')"),
    ),
    notebook(
        "modules-beside-the-notebook",
        local("import beside\nfrom beside import add, Thing\nthing = Thing('here')"),
        gpu("beside.add(1, 2), add(3, 4), thing, Thing('x'), beside.__doc__"),
        gpu("made = Thing('there')\nthing.name = 'changed'"),
        local("made, type(made) is Thing, thing, isinstance(made, beside.Thing)"),
        gpu("other = [thing, made]"),
        local("other[0] is thing"),
        files={"beside.py": _HELPER},
        differs=old_results(2, 4),
    ),
    notebook(
        "modules-beside-imported-there-first",
        gpu("import aside\nresult = aside.add(2, 3)\nthing = aside.Thing('there')"),
        local("result"),
        local("import aside\nthing.name, type(thing) is aside.Thing, aside.add(1, 1)"),
        files={"aside.py": _HELPER},
    ),
    notebook(
        "functions-in-containers",
        local(
            "def f(x):\n    return x + k\nk = 1\ntools = {'f': f, 'g': lambda x: f(x) * 2, 'list': [f, str.upper, len]}"
        ),
        gpu("tools['f'](1), tools['g'](1), tools['list'][0] is f, tools['list'][1]('a')"),
        local("k = 10"),
        gpu("tools['g'](1)"),
        gpu("tools['h'] = lambda: tools['f'](k)"),
        local("tools['h'](), tools['f'] is f"),
    ),
    notebook(
        "global-statements",
        local(
            "state = 'start'\ndef advance(to):\n    global state\n    state, previous = to, state\n    return previous"
        ),
        gpu("advance('middle'), state"),
        local("state, advance('end')"),
        gpu("state"),
        gpu("def clear():\n    global state, fresh\n    del state\n    fresh = 'new'\nclear()"),
        local("'state' in globals(), fresh"),
    ),
    notebook(
        "methods-that-change-their-object",
        local(
            "class Bag:\n    def __init__(self):\n        self.items = []\n"
            "    def put(self, x):\n        self.items.append(x)\n"
            "        return self\nbag = Bag()\nput = bag.put"
        ),
        gpu("bag.put(1).put(2)\nput(3)"),
        local("bag.items, put.__self__ is bag"),
        local("put(4)"),
        gpu("bag.items, put.__self__ is bag"),
        differs=old_results(2, 3, 4),
    ),
    notebook(
        "generics-and-annotations",
        gpu(
            "def f(a: int, b: 'list[str]' = None, *, c: dict[str, int] | None = None) -> tuple[int, ...]: ...\n"
            "kind = dict[str, list[int]]\nunion = int | None"
        ),
        local("f.__annotations__, kind, union"),
        gpu(
            "import typing\nOpt = typing.Optional[int]\nAlias = typing.Callable[[int], str]\n"
            "New = typing.NewType('New', int)"
        ),
        local("Opt, Alias, New(3)"),
    ),
    notebook(
        "async-definitions",
        gpu("async def agen():\n    yield 1\nasync def coro():\n    return 2\ndef gen():\n    yield from range(2)"),
        local("[x async for x in agen()], await coro(), list(gen())"),
        gpu("[x async for x in agen()], await coro(), list(gen())"),
    ),
)
