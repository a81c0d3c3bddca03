"""What a value is made of, as far as moving it is concerned.

Before anything is pickled, each value is walked once. The walk finds

- the mutable objects in it, by identity: values that share one must travel together, or aliases come apart;
- the names that its functions and classes read from the user namespace: those names must travel too;
- the modules whose functions and classes it refers to by name: local project modules must be synced first.

It follows references, not pickle's reductions, and stops where pickling stops: at modules, at importable functions
and classes, and at arrays and frames whose contents hold no Python objects. Copy-on-write and immutable frames
(pandas, polars, pyarrow) are leaves: sharing memory has no meaning there that a user could observe.
"""

from __future__ import annotations

import dis
import gc
import io
import logging
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .handles import RemoteReference, Scope

Node = int | tuple[str, int]

ATOMS: frozenset[type] = frozenset(
    {int, float, complex, bool, str, bytes, type(None), type(...), type(NotImplemented), range}
)
_NEVER_ENTERED = (types.ModuleType, types.CodeType, types.FrameType, weakref.ReferenceType, logging.Logger, io.IOBase)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, as by a class statement
_CONTAINERS = frozenset({list, dict, set, tuple, frozenset})
_PLAIN_LENGTH = 1_000  # beyond, what makes small values fast to fingerprint costs a copy of a large one
_LEAF_ROOTS = frozenset({"pandas", "polars", "pyarrow", "matplotlib", "ipywidgets", "IPython", "traitlets"})
_globals_of_code: weakref.WeakKeyDictionary[types.CodeType, tuple[frozenset[str], frozenset[str]]] = (
    weakref.WeakKeyDictionary()
)


@dataclass(slots=True)
class Survey:
    """The findings of one walk. ``complete`` is false when the budget ran out before the value did; ``is_plain`` is
    true for builtin containers of modest length that hold immutable builtins and each other, and nothing else."""

    nodes: set[Node] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    storages: dict[int, int] = field(default_factory=dict)
    complete: bool = True
    holds_namespace: bool = False
    is_plain: bool = False


def code_names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that a code object reads or writes, nested functions included, and all its attribute names."""
    known = _globals_of_code.get(code)
    if known is not None:
        return known
    names: set[str] = set()
    attributes = set(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner_names, inner_attributes = code_names(constant)
            names |= inner_names
            attributes |= inner_attributes
    _globals_of_code[code] = found = (frozenset(names), frozenset(attributes))
    return found


def is_dynamic(obj: types.FunctionType | type) -> bool:
    """True for a function or class that no import finds again, so that it must travel as code."""
    module = getattr(obj, "__module__", None)
    if isinstance(obj, type) and not obj.__flags__ & _HEAP_TYPE:
        return False  # compiled into the interpreter or an extension, even where its ``__module__`` lies
    if module is None or module == "__main__":
        return True
    found: Any = sys.modules.get(module)
    if found is None:
        return True
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not obj


def class_name_in(user_ns: Mapping[str, Any], cls: type) -> str | None:
    """The user's name for a notebook class, when it is bound under the name it was defined with."""
    name = cls.__dict__.get("__name__", cls.__name__)
    return name if user_ns.get(name) is cls and cls.__module__ == "__main__" else None


class _Walk:
    __slots__ = ("budget", "findings", "is_held", "seen", "stack", "user_ns")

    def __init__(self, root: object, scope: Scope, budget: int) -> None:
        self.is_held = scope.handle_of
        self.findings = Survey(is_plain=type(root) in _CONTAINERS)
        self.user_ns = scope.user_ns
        self.budget = budget
        self.seen: set[int] = set()
        self.stack: list[object] = [root]

    def run(self, root: object) -> Survey:
        if isinstance(root, type) and is_dynamic(root):
            self._enter_class(root)
            self.stack.clear()
            self._run_stack()
        else:
            self._run_stack()
        return self.findings

    def _run_stack(self) -> None:
        stack, seen = self.stack, self.seen
        while stack:
            obj = stack.pop()
            identity = id(obj)
            if identity in seen:
                continue
            seen.add(identity)
            self.budget -= 1
            if self.budget < 0:
                self.findings.complete = False
                return
            self._visit(obj, type(obj))

    def _visit(self, obj: Any, kind: type) -> None:
        if kind is list or kind is set or kind is tuple or kind is frozenset:
            if kind is list or kind is set:
                self.findings.nodes.add(id(obj))
            if len(obj) > _PLAIN_LENGTH:
                self.findings.is_plain = False
            self._push(obj)
        elif kind is dict:
            self._visit_dict(obj)
        elif kind is bytearray:
            self.findings.nodes.add(id(obj))
        else:
            self.findings.is_plain = False
            self._visit_other(obj, kind)

    def _visit_other(self, obj: Any, kind: type) -> None:
        if kind is types.FunctionType:
            self._visit_function(obj)
        elif issubclass(kind, type):
            self._visit_class(obj)
        elif self.is_held(obj) or isinstance(obj, RemoteReference):
            return  # travels as a handle, wherever it occurs: nothing is shared by value
        elif issubclass(kind, _NEVER_ENTERED):
            self.findings.nodes.add(id(obj))
        else:
            self._visit_object(obj, kind)

    def _push(self, children: Iterable[object]) -> None:
        """Atoms make up most of most containers: look at the set of types before looking at the items."""
        kinds = set(map(type, children))
        if kinds <= ATOMS:
            return
        self.stack.extend(child for child in children if type(child) not in ATOMS)

    def _visit_dict(self, obj: dict[Any, Any]) -> None:
        if obj is self.user_ns:
            self.findings.holds_namespace = True
            return
        self.findings.nodes.add(id(obj))
        if len(obj) > _PLAIN_LENGTH:
            self.findings.is_plain = False
        self._push(obj.values())
        self._push(obj.keys())

    def _visit_function(self, function: types.FunctionType) -> None:
        if not is_dynamic(function):
            self.findings.modules.add(function.__module__)
            return
        self.findings.nodes.add(id(function))
        names, attributes = code_names(function.__code__)
        if function.__globals__ is self.user_ns:
            self.findings.names |= names
        self.findings.attributes |= attributes
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__, function.__annotations__):
            if part:
                self._push(part.values() if isinstance(part, dict) else part)
        for cell in function.__closure__ or ():
            self.findings.nodes.add(id(cell))
            try:
                self._push((cell.cell_contents,))
            except ValueError:  # an empty cell: the variable is not bound yet
                continue

    def _visit_class(self, cls: type) -> None:
        """A class of the notebook is a name to send along; one without a name travels inside, so is entered."""
        if not is_dynamic(cls):
            self.findings.modules.add(cls.__module__)
            return
        name = class_name_in(self.user_ns, cls)
        if name is not None:
            self.findings.names.add(name)
        else:
            self._enter_class(cls)

    def _enter_class(self, cls: type) -> None:
        self.seen.add(id(cls))
        self.findings.nodes.add(id(cls))
        for base in cls.__bases__:
            self._link_class(base)
        for key, member in list(cls.__dict__.items()):
            if key in ("__dict__", "__weakref__", "__doc__", "_abc_impl"):
                continue
            inner = getattr(member, "__func__", None) or member
            if isinstance(inner, property):
                self._push(tuple(part for part in (inner.fget, inner.fset, inner.fdel) if part))
            elif isinstance(inner, type):
                self._link_class(inner)
            else:
                self._push((inner,))
        self._run_stack()

    def _link_class(self, other: type) -> None:
        """Classes that refer to each other are one graph: their definitions travel in one pickle."""
        if is_dynamic(other) and class_name_in(self.user_ns, other) is not None:
            self.findings.nodes.add(id(other))
        self.stack.append(other)

    def _visit_object(self, obj: Any, kind: type) -> None:
        root = kind.__module__.partition(".")[0]
        if root == "numpy" and self._visit_numpy(obj, kind):
            return
        if root == "torch" and self._visit_torch(obj):
            return
        if root in _LEAF_ROOTS:
            if not kind.__name__.endswith("Index"):
                self.findings.nodes.add(id(obj))
            return
        if kind is types.MethodType:
            self._push((obj.__func__, obj.__self__))
            return
        if gc.is_tracked(obj) or kind.__flags__ & _HEAP_TYPE:
            self.findings.nodes.add(id(obj))
        self._visit_class(kind)
        self._push([child for child in gc.get_referents(obj) if child is not kind])

    def _visit_numpy(self, obj: Any, kind: type) -> bool:
        dtype = getattr(obj, "dtype", None)
        if dtype is None or not hasattr(kind, "flat"):
            return dtype is not None
        self.findings.nodes.add(id(obj))
        if dtype.hasobject and dtype.names is None:
            self._push(obj.ravel().tolist())
        if kind.__name__ == "MaskedArray":
            self.findings.nodes.add(id(getattr(obj, "_mask", obj)))
        return True

    def _visit_torch(self, obj: Any) -> bool:
        if not hasattr(obj, "untyped_storage"):
            return False
        self.findings.nodes.add(id(obj))
        try:
            address = int(obj.untyped_storage()._cdata)
        except (RuntimeError, NotImplementedError):  # sparse and functional tensors have none
            return True
        self.findings.nodes.add(("storage", address))
        self.findings.storages[address] = self.findings.storages.get(address, 0) + 1
        return True


def survey(value: object, scope: Scope, budget: int = 2_000_000) -> Survey:
    """Walk ``value``, visiting at most ``budget`` objects. Atoms cost nothing."""
    kind = type(value)
    if kind in ATOMS:
        return _NOTHING
    if (kind is list or kind is set or kind is tuple) and ATOMS.issuperset(map(type, value)):  # type: ignore[call-overload]
        return Survey(set() if kind is tuple else {id(value)}, is_plain=len(value) <= _PLAIN_LENGTH)  # type: ignore[arg-type]
    return _Walk(value, scope, budget).run(value)


_NOTHING = Survey()
