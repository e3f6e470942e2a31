"""Money is an integer count of a currency's minor unit: 890 is 8.90 EUR. No float and no rounding
anywhere."""

from __future__ import annotations

import re

from django.utils.formats import get_format
from django.utils.translation import pgettext

# Digits after the decimal point where they are not two (ISO 4217).
_EXPONENTS = {
    "JPY": 0,
    "KRW": 0,
    "CLP": 0,
    "ISK": 0,
    "VND": 0,
    "BHD": 3,
    "KWD": 3,
    "OMR": 3,
    "TND": 3,
    "JOD": 3,
}
_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "CNY": "¥", "INR": "₹", "KRW": "₩"}


def line_total(*, price: int, quantity: int) -> int:
    """The price of a line in minor units."""
    return price * quantity


def digits(currency: str) -> int:
    """How many digits of an amount stand after the decimal point."""
    return _EXPONENTS.get(currency, 2)


def parse(text: str, currency: str) -> int | None:
    """An amount as people type it, with a point or a comma, in minor units; None for what is no amount."""
    exponent = _EXPONENTS.get(currency, 2)
    found = re.fullmatch(rf"\s*([0-9]{{1,9}})(?:[.,]([0-9]{{1,{exponent or 1}}}))?\s*", text)
    if found is None or (found[2] and not exponent):
        return None
    return int(found[1]) * 10**exponent + int((found[2] or "").ljust(exponent, "0") or 0)


def display(amount: int, currency: str) -> str:
    """An amount in minor units as people read it in the active language: display(123456, "EUR") is
    "€1,234.56"."""
    exponent = digits(currency)
    units, rest = divmod(abs(amount), 10**exponent)
    number = f"{units:,}".replace(",", get_format("THOUSAND_SEPARATOR"))
    if exponent:
        number += f"{get_format('DECIMAL_SEPARATOR')}{rest:0{exponent}d}"
    symbol = _SYMBOLS.get(currency, currency + " ")
    # Translators: where the currency's symbol stands; French or German would write "{number} {symbol}".
    text = pgettext("money", "{symbol}{number}").format(symbol=symbol, number=number)
    return f"-{text}" if amount < 0 else text
