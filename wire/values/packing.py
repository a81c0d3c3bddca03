"""From values to bytes: one pickle, its large memory apart, and nothing copied that need not be.

Each *group* (names that share mutable objects) is one ``Packed``. The pickle itself is kept as the segments the pickler
wrote: a large ``bytes`` object is a segment of its own and is never copied. Buffers under ``IN_BAND_BYTES`` stay in
the stream, because a buffer on the wire costs more than a few copied bytes.
"""

from __future__ import annotations

import ctypes
import dataclasses
import pickle
import sys
import types
import typing
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from . import fingerprint
from .arrays import reduce_array
from .code import (
    CACHED_FUNCTION,
    SharedCell,
    reduce_cached_function,
    reduce_class,
    reduce_code,
    reduce_function,
    reduce_new_type,
    remote_object,
)
from .errors_as_values import reduce_exception
from .handles import RemoteReference, Scope
from .parcel import Buffer
from .refusals import refusal
from .survey import class_name_in, is_dynamic
from .tensors import TensorReducer

IN_BAND_BYTES = 16 * 1024


class CannotPack(Exception):
    """A value cannot be turned into bytes; the text is a reason that completes "because …"."""


class TooLarge(Exception):
    """The pickle grew beyond the limit it was given."""


@dataclass(slots=True)
class Packed:
    """One pickled group. ``buffers`` view the user's own memory: they hold while nobody changes it."""

    stream: list[Buffer]
    buffers: list[pickle.PickleBuffer]
    has_code: bool
    views: list[memoryview] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    filenames: frozenset[str] = frozenset()
    _fingerprint: bytes | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(segment) for segment in self.stream) + sum(view.nbytes for view in self.views)

    def fingerprint(self, known: Mapping[fingerprint.Address, bytes] | None = None) -> fingerprint.Fingerprint:
        """Hashes at the first call (memory speed); ``known`` are digests of buffers that just arrived."""
        if self._fingerprint is None:
            located = [(address_of(view) if known else (0, 0), view) for view in self.views]
            self.digests = fingerprint.digests(located, known)
            self._fingerprint = fingerprint.combine(self.stream, self.digests)
        return self._fingerprint


class _Sink:
    """What the pickler writes to. Segments are kept, not joined.

    It takes the buffers too, and not the pickler itself: a pickler that refers to itself lives, with everything it
    pickled, until the garbage collector comes by. On a GPU that is an out-of-memory error.
    """

    __slots__ = ("_limit", "buffers", "segments", "size")

    def __init__(self, limit: int | None) -> None:
        self.segments: list[Buffer] = []
        self.buffers: list[pickle.PickleBuffer] = []
        self.size = 0
        self._limit = limit

    def write(self, segment: Buffer) -> int:
        length = len(segment)
        self.segments.append(segment)
        self.grow(length)
        return length

    def take_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """True puts a small buffer into the stream."""
        size = buffer.raw().nbytes
        if size <= IN_BAND_BYTES:
            return True
        self.grow(size)
        self.buffers.append(buffer)
        return False

    def grow(self, length: int) -> None:
        self.size += length
        if self._limit is not None and self.size > self._limit:
            raise TooLarge


class Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle with the user namespace as globals, remote handles, and arrays and tensors moved as memory."""

    def __init__(self, sink: _Sink, scope: Scope, own: Sequence[object], storages: Mapping[int, int] | None) -> None:
        super().__init__(sink, protocol=5, buffer_callback=sink.take_buffer)
        self._scope = scope
        self._own = {id(value) for value in own}
        self._storages = storages
        self._tensors: TensorReducer | None = None
        self._cells: dict[int, SharedCell] = {}
        self.has_code = False
        self.filenames: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        handle = self._scope.handle_of(obj)
        if handle is not None and id(obj) not in self._own:
            return remote_object, (handle, self._scope.describe(obj))
        kind = type(obj)
        reduce = _reducers.get(kind)
        if reduce is None:
            reduce = _reducers[kind] = _choose(kind)
        return reduce(self, obj)

    def tensors(self) -> TensorReducer:
        if self._tensors is None:
            self._tensors = TensorReducer(self._storages)
        return self._tensors

    def reduce_by_default(self, obj: Any) -> Any:
        return NotImplemented

    def reduce_remote_reference(self, obj: RemoteReference) -> Any:
        return remote_object, (obj._handle, {})

    def reduce_function(self, obj: types.FunctionType) -> Any:
        if not is_dynamic(obj):
            return NotImplemented
        self.has_code = True
        self.filenames.add(obj.__code__.co_filename)
        return reduce_function(obj, self._scope.user_ns, self)

    def reduce_code(self, obj: types.CodeType) -> Any:
        return reduce_code(obj)

    def share_cell(self, cell: types.CellType) -> SharedCell:
        """One for each variable that closures share."""
        return self._cells.setdefault(id(cell), SharedCell(cell))

    def reduce_class(self, obj: type) -> Any:
        if not is_dynamic(obj):
            return super().reducer_override(obj)
        name = class_name_in(self._scope.user_ns, obj)
        is_own = id(obj) in self._own
        if name is None or is_own:
            self.has_code = True
        return reduce_class(obj, name, is_own)

    def reduce_cached(self, obj: Any) -> Any:
        return reduce_cached_function(obj)

    def reduce_new_type(self, obj: Any) -> Any:
        return reduce_new_type(obj)

    def reduce_array(self, obj: Any) -> Any:
        return reduce_array(obj)

    def reduce_tensor(self, obj: Any) -> Any:
        return self.tensors().reduce_tensor(obj)

    def reduce_storage(self, obj: Any) -> Any:
        return self.tensors().reduce_storage(obj)

    def reduce_memoryview(self, obj: memoryview) -> Any:
        """cloudpickle would turn it into ``bytes``, another type."""
        if not obj.contiguous or obj.ndim != 1:
            raise CannotPack("a memoryview that is not one contiguous stretch of memory cannot be rebuilt")
        return rebuild_memoryview, (pickle.PickleBuffer(obj), obj.format)

    def reduce_exception(self, obj: BaseException) -> Any:
        return reduce_exception(obj)

    def reduce_sentinel(self, obj: object) -> Any:
        """``dataclasses.MISSING`` is compared by identity, so it must stay the one it is."""
        for name in ("MISSING", "KW_ONLY"):
            if getattr(dataclasses, name, None) is obj:
                return name
        return NotImplemented

    def refuse(self, obj: object) -> Any:
        raise CannotPack(f"it holds {refusal(type(obj))}")


Reducer = Callable[[Packer, Any], Any]
_reducers: weakref.WeakKeyDictionary[type, Reducer] = weakref.WeakKeyDictionary()


def _choose(kind: type) -> Reducer:
    """Decided once per type, by what it is and not by what is imported."""
    if issubclass(kind, RemoteReference):
        return Packer.reduce_remote_reference
    if kind is types.FunctionType:
        return Packer.reduce_function
    if kind is types.CodeType:
        return Packer.reduce_code
    if issubclass(kind, type):
        return Packer.reduce_class
    if kind is CACHED_FUNCTION:
        return Packer.reduce_cached
    if kind is typing.NewType:
        return Packer.reduce_new_type
    if kind is memoryview:
        return Packer.reduce_memoryview
    if issubclass(kind, BaseException):
        return Packer.reduce_exception
    if kind.__module__ == "dataclasses":
        return Packer.reduce_sentinel
    if refusal(kind) is not None:
        return Packer.refuse
    return _choose_by_library(kind)


def _choose_by_library(kind: type) -> Reducer:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and kind is getattr(numpy, "ndarray", None):
        return Packer.reduce_array
    if torch is not None and hasattr(torch, "UntypedStorage"):
        if kind is torch.Tensor:
            return Packer.reduce_tensor
        if kind is torch.UntypedStorage or kind is torch.storage.TypedStorage:
            return Packer.reduce_storage
    return Packer.reduce_by_default


def rebuild_memoryview(data: Any, format_: str) -> memoryview:
    view = memoryview(data)
    return view if view.format == format_ else view.cast("B").cast(format_)  # type: ignore[call-overload]


def pack(
    values: Sequence[object], scope: Scope, *, limit: int | None = None, storages: Mapping[int, int] | None = None
) -> Packed:
    """Pickle ``values`` as one graph (loaded again as a list of the same length).

    Raises ``TooLarge`` beyond ``limit`` bytes, as early as it shows, and ``CannotPack`` with the reason.
    """
    sink = _Sink(limit)
    packer = Packer(sink, scope, values, storages)
    graph = [_out_of_band(values[0])] if len(values) == 1 else list(values)
    try:
        packer.dump(graph)
    except (TooLarge, CannotPack):
        raise
    except RecursionError:
        raise CannotPack("it is nested too deeply to be pickled") from None
    except Exception as error:
        raise CannotPack(f"pickling it failed: {_plain(error)}") from error
    views = [buffer.raw() for buffer in sink.buffers]
    return Packed(sink.segments, sink.buffers, packer.has_code, views, filenames=frozenset(packer.filenames))


class _Bytes:
    """A large ``bytearray`` variable, as memory: the pickler would copy it into the stream."""

    __slots__ = ("value",)

    def __init__(self, value: bytearray) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return as_bytearray, (pickle.PickleBuffer(self.value),)


def _out_of_band(value: object) -> object:
    return _Bytes(value) if type(value) is bytearray and len(value) > IN_BAND_BYTES else value


def as_bytearray(data: Any) -> bytearray:
    """The received memory itself when it is a ``bytearray``, else a copy."""
    return data if type(data) is bytearray else bytearray(data)


def address_of(view: memoryview) -> fingerprint.Address:
    """Where a buffer lies, to recognise memory that was received a moment ago."""
    if view.readonly or view.nbytes == 0:
        return (0, 0)
    return (ctypes.addressof(ctypes.c_char.from_buffer(view)), view.nbytes)


def _plain(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
