"""The price book: what a second of a GPU costs, in whole micro-dollars, rounded once when the book is read.

A model the book does not list has the price of the cheapest listed one with at least its memory, and of the dearest one
where none has so much: a lease never opens without a price, and never at zero by accident.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...wire.gpu_spec import GIB, model_matches


@dataclass(frozen=True, slots=True)
class Price:
    model: str
    memory_gib: int
    microdollars_per_second: int


@dataclass(frozen=True, slots=True)
class PriceBook:
    dated: str
    source: str
    gpus: tuple[Price, ...]  # at least one
    cpu_microdollars_per_second: int

    def of_gpu(self, model: str, memory_bytes: int) -> int:
        """The price of one GPU per second. The longest listed name wins: ``A100-80GB`` before ``A100``."""
        named = [price for price in self.gpus if model_matches(price.model, model)]
        if named:
            return max(named, key=lambda price: len(price.model)).microdollars_per_second
        roomy = [price for price in self.gpus if price.memory_gib * GIB * 102 // 100 >= memory_bytes]
        if roomy:
            return min(price.microdollars_per_second for price in roomy)
        return max(price.microdollars_per_second for price in self.gpus)

    def lists(self, model: str) -> bool:
        """Whether the price is the book's own, not a stand-in by memory."""
        return any(model_matches(price.model, model) for price in self.gpus)
