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
    """For plain arrays that numpy would copy into the stream; ``NotImplemented`` leaves the others to numpy."""
    flags = array.flags
    if flags.c_contiguous or flags.f_contiguous or array.dtype.hasobject or array.dtype.itemsize == 0:
        return NotImplemented
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    dense = array.transpose(axes)
    if not dense.flags.c_contiguous:
        dense = dense.copy()
    inverse = tuple(axes.index(axis) for axis in range(array.ndim))
    memory = dense if flags.writeable else _read_only(dense)
    data = pickle.PickleBuffer(memory.reshape(-1).view(_numpy().uint8))
    return rebuild_array, (data, array.dtype, dense.shape, inverse)


def rebuild_array(data: Any, dtype: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """On the received memory itself: writable when the memory is."""
    return _numpy().frombuffer(data, dtype=dtype).reshape(shape).transpose(axes)


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


def _numpy() -> Any:
    """Found, or imported by whoever receives the first array: never on account of this module."""
    return importlib.import_module("numpy")
