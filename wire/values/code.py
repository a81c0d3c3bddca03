"""Functions and classes of a notebook, taken apart and put together again on the other end's user namespace.

cloudpickle gives each rebuilt function private globals: a copy, frozen at the moment of pickling. In a notebook the
globals *are* the user's variables, so here a function whose globals are the user namespace is rebuilt on the other
end's user namespace, and the names it reads travel as variables in their own right (``survey`` collects them).

``user_namespace``, ``named_class`` and ``remote_object`` are only names in a pickle: the unpickler replaces each by a
method bound to the interpreter it loads into (see ``unpacking``). This leans on private parts of cloudpickle 3.1+
(``_function_getstate``, ``_make_empty_cell``, the class tracker); ``tests/unit/values`` pins what we rely on.
"""

from __future__ import annotations

import builtins
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle.cloudpickle as cp  # type: ignore[import-untyped]

from .survey import code_names, is_dynamic

Reduction = tuple[Any, ...]


def user_namespace() -> dict[str, Any]:
    """Stands in a pickle for "the user namespace of whoever loads this"."""
    raise LookupError("a parcel of variables can only be loaded by perijove")


def named_class(tracker_id: str, name: str) -> type:
    """Stands in a pickle for "the class of the notebook that travels under this name"."""
    raise LookupError("a parcel of variables can only be loaded by perijove")


def remote_object(handle: str, about: dict[str, Any]) -> object:
    """Stands in a pickle for an object that is held on the other end."""
    raise LookupError("a parcel of variables can only be loaded by perijove")


class NamespaceMark:
    """Pickles as a call of ``user_namespace``. One instance, so that a pickle holds the call once."""

    def __reduce__(self) -> Reduction:
        return user_namespace, ()


NAMESPACE = NamespaceMark()


def reduce_code(code: types.CodeType) -> Reduction:
    """With the file's name, by which a traceback finds the cell's source: cloudpickle drops it since 3.1.3.

    Tuples and the name are copies, as cloudpickle makes them: the same code is then the same bytes in any pickle.
    """
    arguments = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_nlocals,
        code.co_stacksize,
        code.co_flags,
        code.co_code,
        code.co_consts,
        (*code.co_names,),
        (*code.co_varnames,),
        code.co_filename,
        "".join(code.co_name),
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
        (*code.co_freevars,),
        (*code.co_cellvars,),
    )
    return types.CodeType, arguments


class SharedCell:
    """Pickles as an empty cell; once per pickle, so that functions that share a variable go on sharing it."""

    __slots__ = ("cell",)

    def __init__(self, cell: types.CellType) -> None:
        self.cell = cell

    def __reduce__(self) -> Reduction:
        return cp._make_empty_cell, ()


def reduce_function(function: types.FunctionType, user_ns: Mapping[str, Any], pickler: Any) -> Reduction:
    """By value; on the namespace mark when the function's globals are the user's variables."""
    if function.__globals__ is not user_ns:
        return pickler._dynamic_function_reduce(function)  # type: ignore[no-any-return]
    closure = function.__closure__
    cells = None if closure is None else tuple(pickler.share_cell(cell) for cell in closure)
    state = {
        "__name__": function.__name__,
        "__qualname__": function.__qualname__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": function.__annotations__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
    }
    filled = (dict(function.__dict__), state, closure)
    return make_function, (function.__code__, NAMESPACE, cells), filled, None, None, fill_function


def make_function(code: types.CodeType, namespace: dict[str, Any], cells: tuple[Any, ...] | None) -> types.FunctionType:
    """The bare function. Unlike cloudpickle's, it leaves ``namespace["__builtins__"]`` alone: that one is ours."""
    return types.FunctionType(code, namespace, None, None, cells)


def fill_function(
    function: types.FunctionType, filled: tuple[dict[str, Any], dict[str, Any], tuple[Any, ...] | None]
) -> None:
    """Second step, after the function is known to the pickle: so that a closure may hold the function itself."""
    attributes, state, closure = filled
    function.__dict__.update(attributes)
    for cell, source in zip(function.__closure__ or (), closure or (), strict=True):
        try:
            cell.cell_contents = source.cell_contents
        except ValueError:  # empty at home, so empty here
            continue
    for key, value in state.items():
        setattr(function, key, value)


def reduce_class(cls: type, name: str | None, is_own: bool) -> Reduction:
    """By value when it is the variable that travels (or has no name), else by name and identity.

    The definition of ``C`` inside every instance would overwrite attributes of ``C`` with old ones whenever an
    instance returns, and would make every instance "changed" when ``C`` is.
    """
    if name is not None and not is_own:
        return named_class, (cp._get_or_create_tracker_id(cls), name)
    reduction: Reduction = cp._dynamic_class_reduce(cls)
    members, _ = reduction[2]
    members.pop("__slotnames__", None)  # a cache that pickle itself leaves on classes: would look like a change
    if issubclass(cls, enum.Enum):
        return reduction
    return (*reduction[:5], set_class_state)


def set_class_state(cls: type, state: tuple[dict[str, Any], Any]) -> None:
    """As cloudpickle does it, and attributes that were deleted from a class that is here already go."""
    members, _ = state
    made_by_python = (types.MemberDescriptorType, types.GetSetDescriptorType)
    for name, member in list(vars(cls).items()):
        if name not in members and not name.startswith("__") and not isinstance(member, made_by_python):
            type.__delattr__(cls, name)
    cp._class_setstate(cls, state)


def reduce_new_type(new_type: Any) -> Any:
    """``typing.NewType``: plain pickle looks it up by name, which finds nothing over there."""
    if new_type.__module__ != "__main__":
        return NotImplemented
    return typing.NewType, (new_type.__name__, new_type.__supertype__), {"__module__": new_type.__module__}


def find_tracked_class(tracker_id: str) -> type | None:
    """The class of this interpreter that has this identity, if it was made or loaded here."""
    found = cp._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    return found if isinstance(found, type) else None


def reduce_cached_function(wrapper: Any) -> Any:
    """``functools.lru_cache`` functions: plain pickle looks them up by name, which finds nothing over there."""
    if not is_dynamic(wrapper):
        return NotImplemented
    parameters = wrapper.cache_parameters()
    return make_cached_function, (wrapper.__wrapped__, parameters["maxsize"], parameters["typed"])


def make_cached_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Callable[..., Any]:
    """With an empty cache: what was computed at home may not hold over there."""
    return functools.lru_cache(maxsize=maxsize, typed=typed)(function)


CACHED_FUNCTION: type = functools._lru_cache_wrapper


def globals_read(function: types.FunctionType) -> set[str]:
    """The names a function takes from its globals rather than from the builtins."""
    names, _ = code_names(function.__code__)
    return {name for name in names if not hasattr(builtins, name)}
