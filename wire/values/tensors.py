"""torch tensors in a pickle: storages out of band, shared storages shared, CUDA tensors as CPU tensors.

torch by itself writes each storage with ``torch.save`` into the stream (two copies) and remembers the device, so that a
CUDA tensor cannot be loaded where there is no GPU. Here a storage is a buffer, and every tensor arrives on the CPU.
The autograd graph does not travel: a tensor arrives as a leaf that keeps ``requires_grad``.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Mapping
from typing import Any

Reduction = tuple[Any, ...]


class TensorReducer:
    """One per pickle: remembers storages, so that tensors that share one still do on the other side.

    ``shared`` counts the tensors per storage address, as ``survey`` found them: a lone view of a large storage is
    compacted first, where one of several must bring the whole storage. ``None``: nobody counted, nothing is compacted.
    """

    def __init__(self, shared: Mapping[int, int] | None) -> None:
        self._shared = shared
        self._storages: dict[int, Any] = {}

    def reduce_tensor(self, tensor: Any) -> Any:
        """For dense tensors on CPU or CUDA; ``NotImplemented`` leaves sparse, quantized and meta ones to torch."""
        torch = sys.modules["torch"]
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type not in ("cpu", "cuda"):
            return NotImplemented
        plain = tensor.detach()
        if plain.is_conj() or plain.is_neg():
            plain = plain.resolve_conj().resolve_neg()
        storage = plain.untyped_storage()
        alone = self._shared is not None and self._shared.get(int(storage._cdata), 0) <= 1
        if alone and storage.nbytes() > plain.numel() * plain.element_size():
            plain = plain.clone()
            storage = plain.untyped_storage()
        storage = self._storages.setdefault(int(storage._cdata), storage)
        layout = (int(plain.storage_offset()), tuple(plain.size()), tuple(plain.stride()))
        args = (storage, plain.dtype, *layout, tensor.requires_grad)
        attributes = getattr(tensor, "__dict__", None)
        if attributes:
            return rebuild_tensor, args, dict(attributes), None, None, set_attributes
        return rebuild_tensor, args

    def reduce_storage(self, storage: Any) -> Reduction:
        """The memory as a buffer without a copy (CUDA: after the one copy to the host)."""
        torch = sys.modules["torch"]
        untyped = storage.untyped() if hasattr(storage, "untyped") else storage
        on_host = untyped if untyped.device.type == "cpu" else untyped.cpu()
        flat = torch.empty(0, dtype=torch.uint8).set_(on_host)
        data: Any = pickle.PickleBuffer(flat.numpy()) if flat.numel() else b""
        if untyped is storage:
            return rebuild_storage, (data,)
        return rebuild_typed_storage, (data, storage.dtype)


def rebuild_storage(data: Any) -> Any:
    """On the received memory itself. torch has no read-only tensors, so read-only memory is copied."""
    torch = _torch()
    if len(memoryview(data)) == 0:
        return torch.UntypedStorage(0)
    if memoryview(data).readonly:
        data = bytearray(data)
    return torch.frombuffer(data, dtype=torch.uint8).untyped_storage()


def rebuild_typed_storage(data: Any, dtype: Any) -> Any:
    """For tensor subclasses, which torch pickles around its older typed storages."""
    torch = _torch()
    return torch.storage.TypedStorage(wrap_storage=rebuild_storage(data), dtype=dtype, _internal=True)


def rebuild_tensor(
    storage: Any, dtype: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool
) -> Any:
    """A leaf tensor on ``storage`` with the layout it had."""
    torch = _torch()
    tensor = torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)
    return tensor.requires_grad_(requires_grad) if requires_grad else tensor


def _torch() -> Any:
    """Found, or imported by whoever receives the first tensor: never on account of this module."""
    return importlib.import_module("torch")


def set_attributes(tensor: Any, attributes: dict[str, Any]) -> None:
    """What the user hung onto a tensor."""
    tensor.__dict__.update(attributes)
