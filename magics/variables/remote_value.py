"""``RemoteValue``: what the notebook holds of an object that stayed in the kernel.

It is a handle to the object, not a copy and not a proxy. A proxy would make every attribute a hidden round trip, and
would let ``if loss < 1`` run on a machine where ``loss`` is not. So it says what it stands for, it can be fetched, it
can be used in later ``%%gpu`` cells at no cost, and any other use raises and says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ...wire.errors import RemoteValueError
from ...wire.values.handles import RemoteReference


class RemoteValue(RemoteReference):
    """A handle to an object in the kernel. ``.get()`` fetches the value; ``%gpu get NAME`` also rebinds the name."""

    __slots__ = ("_about", "_fetch", "_place")

    def __init__(
        self,
        handle: str,
        about: dict[str, Any],
        fetch: Callable[[RemoteValue], object],
        place: Callable[[], str],
    ) -> None:
        self._handle = handle
        self._lost = False
        self._about = about
        self._fetch = fetch
        self._place = place

    def get(self) -> Any:
        """The value itself, as a copy in this process; CUDA tensors come as CPU tensors. At any size.

        Raises ``RemoteValueError`` when it is lost, ``CannotTravel`` when it cannot leave the kernel.
        """
        if self._lost:
            raise RemoteValueError(
                f"this {self._type} is lost: the kernel it lived in is gone. Run the cell that made it again."
            )
        return self._fetch(self)

    @property
    def _type(self) -> str:
        return str(self._about.get("type", "object"))

    def __repr__(self) -> str:
        parts = [self._type, *_facts(self._about)]
        where = "lost: the kernel it lived in is gone" if self._lost else self._place()
        return f"<RemoteValue {', '.join(parts)}; {where}>"

    def __getattr__(self, name: str) -> NoReturn:
        # Probes for optional protocols (``_repr_html_``, ``__array_interface__``) must find nothing, quietly.
        if name.startswith("_"):
            raise AttributeError(name)
        self._refuse(f".{name}")

    def _refuse(self, use: str) -> NoReturn:
        if self._lost:
            raise RemoteValueError(
                f"{use} needs the value of this {self._type}, which is lost: the kernel it lived in is gone. "
                "Run the cell that made it again."
            )
        raise RemoteValueError(
            f"{use} needs the value, and this {self._type} is in the kernel, not in the notebook. Use it in a "
            "%%gpu cell, or fetch it first with .get() (or `%gpu get NAME`)."
        )

    def __eq__(self, other: object) -> bool:
        return True if other is self else self._refuse("==")

    def __ne__(self, other: object) -> bool:
        return False if other is self else self._refuse("!=")

    __hash__ = object.__hash__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._refuse("pickling or copying")

    def __dir__(self) -> list[str]:
        return ["get"]


def _facts(about: dict[str, Any]) -> list[str]:
    facts: list[str] = []
    if "module" in about:
        facts.append(str(about["module"]))
    if "shape" in about:
        facts.append("×".join(str(n) for n in about["shape"]) or "scalar")
    facts.extend(str(about[key]) for key in ("dtype", "device") if key in about)
    if "length" in about:
        facts.append(f"{about['length']:,} items")
    if "size_bytes" in about:
        facts.append(_human_size(int(about["size_bytes"])))
    return facts


def _human_size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _refusing(use: str) -> Callable[..., NoReturn]:
    def refuse(self: RemoteValue, *args: object, **kwargs: object) -> NoReturn:
        self._refuse(use)

    return refuse


_OPERATORS = {
    "bool()": "bool",
    "len()": "len length_hint",
    "iteration": "iter next reversed aiter anext await",
    "[…]": "getitem setitem delitem contains",
    "calling it": "call",
    "with": "enter exit aenter aexit",
    "arithmetic": (
        "add radd iadd sub rsub isub mul rmul imul matmul rmatmul imatmul truediv rtruediv itruediv "
        "floordiv rfloordiv ifloordiv mod rmod imod divmod rdivmod pow rpow ipow lshift rlshift ilshift "
        "rshift rrshift irshift and rand iand or ror ior xor rxor ixor neg pos abs invert"
    ),
    "a number": "int float complex index round trunc floor ceil",
    "comparing": "lt le gt ge",
    "numpy": "array array_ufunc array_function dataframe",
    "bytes": "bytes",
}
for _use, _names in _OPERATORS.items():
    for _name in _names.split():
        setattr(RemoteValue, f"__{_name}__", _refusing(_use))
