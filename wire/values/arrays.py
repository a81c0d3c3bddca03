"""numpy arrays in a pickle: memory out of band, layout and flags as they were.

numpy by itself moves contiguous arrays out of band and copies all others into the stream. Here an array that is dense
in some order of its axes (a transpose, say) keeps that order, and any other is compacted once (one copy).
"""

from __future__ import annotations

import importlib
import pickle
from typing import Any

Reduction = tuple[Any, ...]


def reduce_array(array: Any) -> Any:
    """For plain arrays of any layout. Empty ones and those of objects: only where numpy forgets "read-only"."""
    flags, dtype = array.flags, array.dtype
    if dtype.hasobject or dtype.itemsize == 0 or array.size == 0:
        return NotImplemented if flags.writeable else (as_read_only, (array.copy(order="K"),))
    axes = _order_of_axes(array)
    dense = array if axes is None else array.transpose(axes)
    if not dense.flags.c_contiguous:
        dense = dense.copy()
    flat = dense.reshape(-1).view("u1")
    if not flags.writeable:
        flat.flags.writeable = False
    return rebuild_array, (pickle.PickleBuffer(flat), dtype, dense.shape, axes)


def _order_of_axes(array: Any) -> tuple[int, ...] | None:
    """The order in which the axes lie in memory, outermost first; ``None`` for the usual one."""
    if array.flags.c_contiguous:
        return None
    if array.flags.f_contiguous:
        return tuple(reversed(range(array.ndim)))
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


def rebuild_array(data: Any, dtype: Any, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> Any:
    """On the received memory itself: writable when the memory is."""
    numpy = _numpy()
    array = numpy.frombuffer(data, dtype="u1") if len(data) else numpy.empty(0, "u1")
    array = array.view(dtype).reshape(shape) if array.size else numpy.empty(shape, dtype)
    return array if axes is None else array.transpose(sorted(range(len(axes)), key=axes.__getitem__))


def as_read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def _numpy() -> Any:
    """Found, or imported by whoever receives the first array: never on account of this module."""
    return importlib.import_module("numpy")
