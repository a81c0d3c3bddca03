"""From bytes to values, in the interpreter they arrive in."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import code
from .handles import Scope
from .parcel import Buffer

ClassFinder = Callable[[str, str], type]


class CannotUnpack(Exception):
    """Bytes arrived that do not load here; the text is a reason that completes "because …"."""

    def __init__(self, reason: str, missing_module: str | None = None) -> None:
        super().__init__(reason)
        self.missing_module = missing_module


class _Segments(io.RawIOBase):
    """A pickle stream in several buffers, read without joining them."""

    def __init__(self, segments: Sequence[Buffer]) -> None:
        self._views = [memoryview(segment).cast("B") for segment in segments]
        self._at = 0

    def readinto(self, target: Any) -> int:
        wanted = memoryview(target).cast("B")
        filled = 0
        while filled < len(wanted) and self._at < len(self._views):
            view = self._views[self._at]
            count = min(len(view), len(wanted) - filled)
            wanted[filled : filled + count] = view[:count]
            filled += count
            if count == len(view):
                self._at += 1
            else:
                self._views[self._at] = view[count:]
        return filled

    def readable(self) -> bool:
        return True


class Unpacker(pickle.Unpickler):
    """Replaces the stand-ins of ``code`` by this interpreter's namespace, classes and held objects.

    The replacements are functions that know nothing of the unpickler: it remembers them, and a cycle would keep every
    loaded value alive until the garbage collector comes by.
    """

    def __init__(self, stream: Any, buffers: Sequence[Buffer], scope: Scope, find_class_named: ClassFinder) -> None:
        super().__init__(stream, buffers=iter(buffers))
        self._user_ns = scope.user_ns
        self._stand_ins: dict[str, Callable[..., object]] = {
            "user_namespace": lambda: scope.user_ns,
            "named_class": lambda tracker, name: code.find_tracked_class(tracker) or find_class_named(tracker, name),
            "remote_object": scope.resolve,
        }

    def find_class(self, module: str, name: str) -> Any:
        if module == code.__name__ and name in self._stand_ins:
            return self._stand_ins[name]
        if module == "__main__":
            return self._find_in_namespace(name)
        return super().find_class(module, name)

    def _find_in_namespace(self, name: str) -> Any:
        first, *rest = name.split(".")
        try:
            found = self._user_ns[first]
        except KeyError:
            raise AttributeError(f"there is no {first!r} in the notebook's namespace") from None
        for part in rest:
            found = getattr(found, part)
        return found


def unpack(
    stream: Sequence[Buffer], buffers: Sequence[Buffer], scope: Scope, find_class_named: ClassFinder | None = None
) -> list[Any]:
    """Load one pickled group: the list of its values. Arrays and tensors sit on the memory of ``buffers``.

    Raises ``CannotUnpack`` with the reason, and the missing module's name when that is what is wrong.
    """
    file = io.BytesIO(stream[0]) if len(stream) == 1 else io.BufferedReader(_Segments(stream), 64 * 1024)
    try:
        loaded = Unpacker(file, buffers, scope, find_class_named or _no_class).load()
    except ModuleNotFoundError as error:
        raise CannotUnpack(f"the module {error.name!r} is not installed there", error.name) from error
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        raise CannotUnpack(f"loading it failed: {type(error).__name__}: {text.splitlines()[0]}") from error
    if not isinstance(loaded, list):
        raise CannotUnpack("its pickle is not one of perijove's")
    return loaded


def _no_class(tracker_id: str, name: str) -> type:
    raise LookupError(f"the class {name!r} is not there")


def python_version() -> list[int]:
    """Major and minor: code objects load only where both are the same."""
    return list(sys.version_info[:2])


def refuse_foreign_code(item: Mapping[str, Any], theirs: Sequence[int]) -> None:
    """Raise ``CannotUnpack`` when a group holds compiled code of another Python: data travels, code does not."""
    ours = python_version()
    if item.get("code") and list(theirs) != ours:
        raise CannotUnpack(
            f"it holds code compiled by Python {theirs[0]}.{theirs[1]}, and the other side runs Python "
            f"{ours[0]}.{ours[1]}: data travels between the two, code does not"
        )
