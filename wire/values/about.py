"""What a person wants to know about a value they cannot see: type, shape, dtype, device, size.

Nothing here may run the user's code or cost more than microseconds: it describes values that were just found too
large or too strange to move. So only attributes of well-known kinds are read, and every failure means "unknown".
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any


def type_name(value: object) -> str:
    """The type as users write it: ``list``, ``numpy.ndarray``, ``Model`` for a class of the notebook."""
    kind = type(value)
    module = kind.__module__
    if module in ("builtins", "__main__"):
        return kind.__qualname__
    root = module.partition(".")[0]
    return f"{root}.{kind.__qualname__}"


def size_bytes(value: object) -> int | None:
    """Bytes of the data in ``value`` where that can be told at a glance, else ``None``. A lower bound."""
    for known in (_buffer_size, _frame_size, _tensor_size):
        size = _quietly(known, value)
        if isinstance(size, int):
            return size
    return None


def describe(value: object) -> dict[str, Any]:
    """JSON-able: ``type`` always; ``shape``, ``dtype``, ``device``, ``size_bytes``, ``length`` where known."""
    about: dict[str, Any] = {"type": type_name(value)}
    shape = _quietly(lambda v: tuple(int(n) for n in v.shape), value) if _is_tabular(value) else None
    if shape is not None:
        about["shape"] = list(shape)
        for key in ("dtype", "device"):
            found = _quietly(str, getattr(value, key, None)) if _states(value, key) else None
            if found is not None:
                about[key] = found
    elif isinstance(value, (list, tuple, dict, set, frozenset, str, bytes, bytearray)):
        about["length"] = len(value)
    if isinstance(value, types.ModuleType):
        about["module"] = value.__name__
    size = size_bytes(value)
    if size is not None:
        about["size_bytes"] = size
    return about


def _buffer_size(value: Any) -> int | None:
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, str):
        return sys.getsizeof(value)
    if _root(value) in ("numpy", "torch", "cupy", "jax", "jaxlib") and hasattr(type(value), "nbytes"):
        return int(value.nbytes)
    return None


def _frame_size(value: Any) -> int | None:
    root = _root(value)
    if root == "pandas" and hasattr(value, "memory_usage"):
        used = value.memory_usage()
        return int(used if isinstance(used, int) else used.sum())
    if root == "polars" and hasattr(value, "estimated_size"):
        return int(value.estimated_size())
    if root == "pyarrow" and hasattr(value, "nbytes"):
        return int(value.nbytes)
    return None


def _tensor_size(value: Any) -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.nn.Module):
        return None
    held = [*value.parameters(), *value.buffers()]
    return sum(int(tensor.nbytes) for tensor in held)


def _is_tabular(value: object) -> bool:
    return _root(value) in ("numpy", "torch", "cupy", "jax", "jaxlib", "pandas", "polars", "scipy")


def _states(value: object, attribute: str) -> bool:
    """A frame has no one dtype, and numpy's constant ``device`` says nothing."""
    return hasattr(type(value), attribute) and not (attribute == "device" and _root(value) == "numpy")


def _root(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _quietly(ask: Callable[[Any], Any], value: object) -> Any:
    try:
        return ask(value)
    except Exception:  # noqa: BLE001 - a description must never be what fails
        return None
