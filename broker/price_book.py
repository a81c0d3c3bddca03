"""Reading a price book from TOML, and saying exactly what is wrong with one."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from ..wire.money import price_from_dollars
from .core.prices import Price, PriceBook
from .errors import SettingsError


def load_price_book(path: Path | None) -> PriceBook:
    """The book at ``path``, or the default one.

    Raises:
        SettingsError: naming the file and the entry that cannot be read.
    """
    if path is None:
        text, name = resources.files(__package__).joinpath("prices.toml").read_text("utf-8"), "the default price book"
    else:
        try:
            text, name = path.read_text("utf-8"), f"the price book {path}"
        except OSError as error:
            raise SettingsError(f"the price book {path} cannot be read: {error.strerror}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name} is no TOML: {error}") from error
    return _read(document, name)


def _read(document: dict[str, Any], name: str) -> PriceBook:
    gpus = document.get("gpu")
    if not isinstance(gpus, dict) or not gpus:
        raise SettingsError(f"{name} lists no GPU; write one like [gpu.H100] with usd_per_second and memory_gib")
    return PriceBook(
        dated=str(document.get("dated", "")),
        source=str(document.get("source", "")),
        gpus=tuple(_read_gpu(model, entry, name) for model, entry in gpus.items()),
        cpu_microdollars_per_second=_price(document.get("cpu_usd_per_second"), "cpu_usd_per_second", name),
    )


def _read_gpu(model: str, entry: Any, name: str) -> Price:
    if not isinstance(entry, dict) or not isinstance(entry.get("memory_gib"), int):
        raise SettingsError(f"{name}: [gpu.{model}] needs usd_per_second and a whole memory_gib")
    return Price(model.upper(), entry["memory_gib"], _price(entry.get("usd_per_second"), f"gpu.{model}", name))


def _price(value: Any, where: str, name: str) -> int:
    if not isinstance(value, str):
        raise SettingsError(f'{name}: {where} needs a price as text, like "0.001097"')
    try:
        return price_from_dollars(value)
    except ValueError as error:
        raise SettingsError(f"{name}: {where}: {error}") from error
