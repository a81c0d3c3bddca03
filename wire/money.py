"""Money in integers. Floats never touch it.

A price is a whole number of micro-dollars per second and GPU; a duration is a whole number of milliseconds;
so a cost is a whole number of nano-dollars, exactly: 1 µ$/s × 1 ms = 1 n$.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

NANODOLLARS_PER_DOLLAR = 1_000_000_000
MICRODOLLARS_PER_DOLLAR = 1_000_000
MOST_BUDGET_NANODOLLARS = 1_000_000_000 * NANODOLLARS_PER_DOLLAR  # fits 64 bits, with room for sums


def cost_nanodollars(price_microdollars_per_second: int, count: int, duration_ms: int) -> int:
    """What ``count`` GPUs cost for ``duration_ms`` at a price per GPU.

    Raises:
        ValueError: when any of the three is negative.
    """
    if price_microdollars_per_second < 0 or count < 0 or duration_ms < 0:
        raise ValueError("a price, a count and a duration are never negative")
    return price_microdollars_per_second * count * duration_ms


def price_from_dollars(text: str) -> int:
    """A price-book entry such as ``"0.001097"`` dollars per second, rounded once, half to even, to micro-dollars.

    Raises:
        ValueError: when the text is no number, or negative.
    """
    amount = _decimal(text)
    return int((amount * MICRODOLLARS_PER_DOLLAR).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def dollars_to_nanodollars(text: str) -> int:
    """An amount a person wrote, such as ``"5.00"``, in nano-dollars.

    Raises:
        ValueError: when the text is no number, or negative.
    """
    amount = _decimal(text)
    return int((amount * NANODOLLARS_PER_DOLLAR).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def nanodollars_to_text(nanodollars: int) -> str:
    """The same amount in dollars with every digit, as :func:`dollars_to_nanodollars` reads it.

    >>> nanodollars_to_text(5_000_000_000), nanodollars_to_text(40_000)
    ('5', '0.00004')
    """
    whole, part = divmod(nanodollars, NANODOLLARS_PER_DOLLAR)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")


def format_dollars(nanodollars: int) -> str:
    """For people: ``$0.0039``; four decimals below ten dollars, two from there on; never a bare zero for a cost.

    >>> format_dollars(3_891_000), format_dollars(12_340_000_000), format_dollars(40_000), format_dollars(0)
    ('$0.0039', '$12.34', '<$0.0001', '$0.0000')
    """
    if nanodollars < 0:
        return "-" + format_dollars(-nanodollars)
    if 0 < nanodollars < 100_000:
        return "<$0.0001"
    dollars = Decimal(nanodollars) / NANODOLLARS_PER_DOLLAR
    places = Decimal("0.01") if dollars >= 10 else Decimal("0.0001")
    return f"${dollars.quantize(places, rounding=ROUND_HALF_EVEN):,}"


def amount_text(nanodollars: int, *, simulated: bool) -> str:
    """An amount wherever people see one: ``$0.0039``, ``$0.0039 simulated``."""
    return format_dollars(nanodollars) + (" simulated" if simulated else "")


def _decimal(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise ValueError(f"{text!r} is no amount of dollars; write it like 5 or 0.50") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{text!r} is no amount of dollars that can be paid; write it like 5 or 0.50")
    return amount
