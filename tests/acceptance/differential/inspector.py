"""Runs inside the kernels, at the end of a notebook: describes the whole namespace so that two can be compared.

Where the walk meets an object that has an identity worth keeping (everything but immutable plain data) for the second
time, the description says where it was first: equal descriptions mean equal values *and* the same sharing, within
variables and between them.
"""

import functools
import json
import sys
import types

_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range)
_OPAQUE = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.FrameType, types.TracebackType)


def inspect_namespace(namespace, shell):
    """JSON: ``variables``, in the order of their names; ``underscored`` ones; and IPython's histories."""
    hidden = shell.user_ns_hidden
    names = sorted(
        name
        for name, value in namespace.items()
        if not name.startswith("_") and (name not in hidden or value is not hidden[name])
    )
    describe = _Describer(namespace)
    found = {
        "variables": {name: describe(namespace[name], name) for name in names},
        "underscored": {
            name: describe(value, name)
            for name, value in sorted(namespace.items())
            if name.startswith("_")
            and not name.startswith("_i")
            and name not in ("_dh", "_oh", "_exit_code")
            and name.strip("_")
            and not name.startswith("__")
        },
        "annotations": describe(namespace.get("__annotations__", {})),
        "Out": {str(number): describe(value, f"Out[{number}]") for number, value in namespace["Out"].items()},
        "last": {name: _which(namespace.get(name, "absent"), namespace) for name in ("_", "__", "___")},
        "In": namespace["In"][1:],
        "inputs": {name: namespace.get(name) for name in ("_i", "_ii", "_iii")},
        "exit code": repr(namespace.get("_exit_code")),
        "execution count": shell.execution_count,
    }
    return json.dumps(found)


def _which(value, namespace):
    """Which result it is: what that is is said there."""
    numbers = [number for number, result in namespace["Out"].items() if result is value]
    return f"Out[{numbers[0]}]" if numbers else f"{type(value).__name__} {value!r}"


class _Describer:
    def __init__(self, namespace):
        self._namespace = namespace
        self._seen = {}
        self._kept = []
        self._path = []

    def __call__(self, value, step=""):
        if type(value) in _ATOMS:
            return f"{type(value).__name__} {value!r}"
        self._path.append(step)
        try:
            return self._compound(value)
        finally:
            self._path.pop()

    def _compound(self, value):
        if type(value) is tuple:
            return ["tuple", *(self(item, str(number)) for number, item in enumerate(value))]
        if type(value) is frozenset:
            return ["frozenset", *sorted((self(item, "item") for item in value), key=str)]
        if type(value) is types.MappingProxyType:
            return ["mappingproxy", *([self(key), self(each, str(key))] for key, each in value.items())]
        if value is self._namespace:
            return "the namespace"
        if id(value) in self._seen:
            return f"same as {self._seen[id(value)]}"
        self._seen[id(value)] = "/".join(self._path)
        self._kept.append(value)  # so that no id is used twice
        if _qualified(type(value)).endswith("remote_value.RemoteValue"):
            return "remote " + object.__getattribute__(value, "_about")["type"]
        return {"type": _qualified(type(value)), "is": self._content(value)}

    def _content(self, value):
        for kinds, describe in self._ways():
            if isinstance(value, kinds):
                return describe(value)
        return self._object(value)

    def _ways(self):
        yield (list,), lambda v: [self(item, str(n)) for n, item in enumerate(v)] + self._extra(v)
        yield (dict,), lambda v: [[self(k), self(x, str(k))] for k, x in v.items()] + self._extra(v)
        yield (tuple,), lambda v: [self(item) for item in v] + self._extra(v)
        yield (set, frozenset), lambda v: sorted((self(item) for item in v), key=str) + self._extra(v)
        yield (bytearray, memoryview), lambda v: bytes(v).hex(" ", 4)
        yield (types.ModuleType,), lambda v: v.__name__
        yield (types.FunctionType,), self._function
        yield (type,), self._class
        yield (types.MethodType,), lambda v: [self(v.__func__), self(v.__self__)]
        yield (BaseException,), self._error
        yield (property,), lambda v: [self(v.fget), self(v.fset), self(v.fdel), v.__doc__]
        yield (staticmethod, classmethod), lambda v: self(v.__func__)
        yield (types.BuiltinFunctionType,), lambda v: [v.__qualname__, self(v.__self__)]
        yield (functools.partial,), lambda v: [self(v.func), self(v.args), self(v.keywords)]
        yield (functools._lru_cache_wrapper,), lambda v: [self(v.__wrapped__), self(v.cache_parameters())]
        yield _OPAQUE, lambda v: getattr(v, "__name__", "")
        yield from _library_ways(self)

    def _extra(self, value):
        return [self(vars(value))] if getattr(value, "__dict__", None) and type(value) not in (list, dict, set) else []

    def _function(self, f):
        user_made = f.__globals__ is self._namespace
        if not user_made and f.__module__ in sys.modules and f.__module__ != "__main__":
            return f"{f.__module__}.{f.__qualname__}"
        return {
            "name": [f.__name__, f.__qualname__, f.__module__, f.__doc__],
            "on the namespace": user_made,
            "defaults": [self(f.__defaults__), self(f.__kwdefaults__)],
            "annotations": self(f.__annotations__),
            "attributes": self(vars(f)),
            "code": self._code(f.__code__),
            "closure": [self(_cell(cell)) for cell in f.__closure__ or ()],
        }

    def _code(self, code):
        constants = [self._code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
        return [code.co_name, code.co_firstlineno, code.co_code.hex(" ", 4), constants, code.co_names, code.co_varnames]

    def _error(self, error):
        parts = (type(error), error.args, dict(vars(error)), error.__cause__, error.__context__)
        return [self(part, str(number)) for number, part in enumerate(parts)]

    def _class(self, cls):
        if cls.__module__ != "__main__":
            return f"{cls.__module__}.{cls.__qualname__}"
        skipped = ("__dict__", "__weakref__", "_abc_impl", "__slotnames__")
        members = {k: self(v) for k, v in sorted(vars(cls).items()) if k not in skipped}
        return {"name": cls.__qualname__, "bases": [self(base) for base in cls.__bases__], "members": members}

    def _object(self, value):
        if type(value).__module__ != "__main__":
            try:
                reduced = value.__reduce_ex__(4)
            except TypeError:
                return "cannot be pickled"
            return [self(part) for part in reduced[1:3]] if isinstance(reduced, tuple) else reduced
        cls = self(type(value))
        slots = {
            name: self(getattr(value, name))
            for base in type(value).__mro__
            for name in getattr(base, "__slots__", ())
            if name not in ("__dict__", "__weakref__") and hasattr(value, name)
        }
        attributes = [[name, self(each)] for name, each in getattr(value, "__dict__", {}).items()]
        return [cls, slots, attributes]


def _library_ways(describe):
    traitlets = sys.modules["traitlets"]
    yield (traitlets.HasTraits,), lambda v: _qualified(type(v))  # hangs together with the whole kernel
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ndarray"):
        yield (numpy.ma.MaskedArray,), lambda v: [_array(v.data, describe), _array(numpy.ma.getmaskarray(v), describe)]
        yield (numpy.ndarray,), lambda v: _array(v, describe)
        yield (numpy.generic,), lambda v: [str(v.dtype), repr(v)]
        yield (numpy.dtype,), repr
        yield (numpy.random.Generator,), lambda v: describe(v.bit_generator.state)
    pandas = sys.modules.get("pandas")
    if pandas is not None and hasattr(pandas, "DataFrame"):
        yield (
            (pandas.DataFrame,),
            lambda v: [
                describe(v.index),
                describe(v.columns),
                describe(v.attrs),
                [[str(v.dtypes.iloc[i]), [repr(x) for x in v.iloc[:, i]]] for i in range(v.shape[1])],
            ],
        )
        yield (pandas.Series,), lambda v: [str(v.dtype), repr(v.name), describe(v.index), [repr(x) for x in v]]
        yield (pandas.Index,), lambda v: [str(v.dtype), [str(n) for n in v.names], [repr(x) for x in v], _frequency(v)]
        yield (pandas.Timestamp, pandas.Timedelta, pandas.Period, pandas.Interval), repr
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        yield (
            (torch.Tensor,),
            lambda v: [
                *(str(v.dtype), list(v.shape), str(v.device), v.requires_grad),
                list(v.stride()) if v.layout is torch.strided else [],
                repr(v.detach()),
                describe(dict(vars(v))),
            ],
        )
        yield (torch.dtype, torch.device, torch.Size), repr


def _array(value, describe):
    contents = (
        [describe(item) for item in value.ravel().tolist()] if value.dtype.hasobject else value.tobytes().hex(" ", 4)
    )
    layout = [value.flags.writeable, value.flags.c_contiguous, value.flags.f_contiguous]
    return [repr(value.dtype), list(value.shape), layout, contents]


def _frequency(index):
    return str(getattr(index, "freq", ""))


def _qualified(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


def _cell(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return "empty cell"
