"""What an order costs. Pure integer arithmetic over minor units: no float, and every rounding said here.

Prices include their tax. A discount is spread over the lines by what they cost, to the last unit; the tax of a line is
that inside of what remains of it. A tip is not taxed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# One hundred percent, in the basis points in which rates are given.
WHOLE = 10_000


@dataclass(frozen=True, slots=True)
class Tax:
    """The tax of one rate (basis points): `gross` is what was sold at it, `amount` the tax inside of that."""

    rate: int
    gross: int
    amount: int

    @property
    def percent(self) -> str:
        """The rate as people write it: 1900 is "19", 750 is "7.5"."""
        whole, rest = divmod(self.rate, 100)
        return f"{whole}.{rest:02d}".rstrip("0") if rest else str(whole)


@dataclass(frozen=True, slots=True)
class Bill:
    """`shares` is how much of the discount falls on each line, in their order."""

    goods: int
    discount: int
    tip: int
    shares: tuple[int, ...]
    taxes: tuple[Tax, ...]

    @property
    def total(self) -> int:
        return self.goods - self.discount + self.tip

    @property
    def tax(self) -> int:
        return sum(tax.amount for tax in self.taxes)


def make_bill(lines: Sequence[tuple[int, int]], *, discount: int = 0, tip: int = 0) -> Bill:
    """The bill of lines given as (total, tax rate in basis points). A discount never exceeds the goods."""
    totals = [total for total, _rate in lines]
    goods = sum(totals)
    taken = min(discount, goods)
    shares = spread(taken, totals)
    rest = [(total - share, rate) for (total, rate), share in zip(lines, shares, strict=True)]
    return Bill(goods, taken, tip, shares, taxes_of(rest))


def spread(amount: int, weights: Sequence[int]) -> tuple[int, ...]:
    """The amount in parts proportional to the weights, whose sum is exactly the amount; no part exceeds its weight
    where the amount does not exceed their sum. What rounding leaves goes to the largest remainders."""
    whole = sum(weights)
    if not whole:
        return tuple(0 for _ in weights)
    parts = [amount * weight // whole for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda at: (-(amount * weights[at] % whole), at))
    for at in remainders[: amount - sum(parts)]:
        parts[at] += 1
    return tuple(parts)


def taxes_of(lines: Sequence[tuple[int, int]]) -> tuple[Tax, ...]:
    """The taxes of lines given as (paid, rate), one for each rate above zero, the highest first."""
    rates = sorted({rate for _paid, rate in lines if rate}, reverse=True)
    return tuple(_tax(rate, sum(paid for paid, own in lines if own == rate)) for rate in rates)


def percentage(amount: int, percent: int) -> int:
    """So many percent of an amount, rounded half up."""
    return (amount * percent * 2 + 100) // 200


def _tax(rate: int, gross: int) -> Tax:
    return Tax(rate, gross, (gross * rate * 2 + WHOLE + rate) // (2 * (WHOLE + rate)))
