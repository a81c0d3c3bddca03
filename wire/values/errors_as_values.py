"""Exceptions that are values: with the arguments, notes and causes they have.

Pickle by itself makes an exception again by calling its class with ``args``, which runs ``__init__`` a second time on
what the first had made of them (``code 5`` becomes ``code code 5``), and drops its cause and context.
"""

from __future__ import annotations

from typing import Any

Reduction = tuple[Any, ...]


def reduce_exception(error: BaseException) -> Any:
    """``NotImplemented`` for classes that say themselves how they are pickled, and how they are made again."""
    kind = type(error)
    if kind.__reduce_ex__ is not object.__reduce_ex__:
        return NotImplemented
    links = (error.__cause__, error.__context__, error.__suppress_context__)
    if kind.__reduce__ is BaseException.__reduce__ and _is_only_args(kind):
        return make_exception, (kind, error.args), (dict(error.__dict__), *links), None, None, link_exception
    reduced = error.__reduce__()
    if not isinstance(reduced, tuple) or len(reduced) > 3 or (type(reduced[-1]) is not dict and len(reduced) == 3):
        return NotImplemented
    state = reduced[2] if len(reduced) == 3 else {}
    return reduced[0], reduced[1], (state, *links), None, None, link_exception


def make_exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Without its ``__init__``, which has run once."""
    return BaseException.__new__(kind, *args)


def link_exception(error: BaseException, state: tuple[Any, ...]) -> None:
    """Second step, so that exceptions may refer to each other."""
    attributes, cause, context, is_context_suppressed = state
    if attributes:
        error.__setstate__(attributes)
    error.__cause__, error.__context__ = cause, context
    error.__suppress_context__ = is_context_suppressed


def _is_only_args(kind: type[BaseException]) -> bool:
    """It keeps nothing outside ``args`` and ``__dict__``, unlike ``OSError`` or ``SyntaxError``."""
    native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    return native.__basicsize__ == BaseException.__basicsize__
