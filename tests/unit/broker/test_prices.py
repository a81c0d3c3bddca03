"""The price book (docs/billing.md, "Prices")."""

from __future__ import annotations

from pathlib import Path

import pytest
from perijove.broker.errors import SettingsError
from perijove.broker.price_book import load_price_book

GIB = 2**30


@pytest.mark.parametrize(
    ("model", "memory_gib", "price"),
    [
        ("H100", 80, 1097),
        ("h100", 80, 1097),
        ("H100-NVL", 94, 1097),
        ("A100-40GB", 40, 583),
        ("A100-80GB", 80, 694),
        ("T4", 15, 164),
        ("RTX-PRO-6000-BLACKWELL-SERVER-EDITION", 96, 842),
    ],
)
def test_listed_models(model: str, memory_gib: int, price: int) -> None:
    assert load_price_book(None).of_gpu(model, memory_gib * GIB) == price


def test_an_unlisted_model_costs_what_the_cheapest_with_its_memory_does_and_never_nothing() -> None:
    book = load_price_book(None)
    assert book.of_gpu("RTX-4090", 24 * GIB) == 222
    assert not book.lists("RTX-4090")
    assert book.of_gpu("GTX-1080", 8 * GIB) == 164
    assert book.of_gpu("X9000", 1000 * GIB) == max(price.microdollars_per_second for price in book.gpus)


def test_a_mig_instance_costs_what_a_gpu_of_its_size_does_unless_it_is_listed(tmp_path: Path) -> None:
    book = load_price_book(None)
    assert book.of_gpu("H100-1g.10gb", 9856 << 20) == book.of_gpu("T4", 16 * GIB)
    assert book.of_gpu("H100-3g.40gb", 40448 << 20) == book.of_gpu("L40S", 48 * GIB)
    assert not book.lists("H100-1g.10gb")
    path = tmp_path / "prices.toml"
    path.write_text(
        'cpu_usd_per_second = "0"\n'
        '[gpu.H100]\nusd_per_second = "0.001097"\nmemory_gib = 80\n'
        '[gpu."H100-1g.10gb"]\nusd_per_second = "0.0002"\nmemory_gib = 10\n'
    )
    own = load_price_book(path)
    assert own.of_gpu("H100-1g.10gb", 9856 << 20) == 200
    assert own.of_gpu("H100", 80 * GIB) == 1097
    assert own.lists("H100-1g.10gb")


def test_the_default_book_is_dated_and_names_its_source() -> None:
    book = load_price_book(None)
    assert book.dated == "2026-07"
    assert "Modal" in book.source
    assert book.cpu_microdollars_per_second == 22


def test_an_own_book_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('cpu_usd_per_second = "0"\n[gpu.H100]\nusd_per_second = "0.0000005"\nmemory_gib = 80\n')
    book = load_price_book(path)
    assert book.of_gpu("H100", 80 * GIB) == 0, "half a micro-dollar rounds to even"
    assert book.cpu_microdollars_per_second == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lists no GPU"),
        ("[gpu.H100]\nmemory_gib = 80", "gpu.H100 needs a price as text"),
        ("[gpu.H100]\nusd_per_second = 0.001\nmemory_gib = 80", "needs a price as text"),
        ('[gpu.H100]\nusd_per_second = "much"\nmemory_gib = 80', "no amount of dollars"),
        ('[gpu.H100]\nusd_per_second = "1"', "whole memory_gib"),
        ("gpu = [", "no TOML"),
    ],
)
def test_a_bad_book_is_refused_saying_where(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_price_book(path)
    assert str(path) in str(caught.value)


def test_a_missing_book_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_price_book(tmp_path / "none.toml")
