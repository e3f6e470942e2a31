"""What a customer asks for, cleaned, and everything that stands in its way. Reads only; `orders.place`
acts."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ordering import conf, money
from ordering.models import MenuItem, Order

MAX_QUANTITY = 20
MAX_LINES = 30
MAX_NAME = Order._meta.get_field("name").max_length or 0
MAX_NOTE = Order._meta.get_field("note").max_length or 0
MAX_KEY = Order._meta.get_field("idempotency_key").max_length or 0
MIN_KEY = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps an order from being placed.

    `code` is for programs: empty, too_many_lines, quantity, unknown_item, unavailable, sold_out, not_enough,
    name, note, price_changed. `message` is for people and says what to do. `available` is how many are left.
    """

    code: str
    message: str
    item: str = ""
    available: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be ordered. `lines` maps an item's slug to how many; `expected_total` is what the customer
    saw."""

    lines: Mapping[str, int]
    name: str = ""
    note: str = ""
    expected_total: int | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is asked for; the order of the lines does not count."""
        asked = [sorted(self.lines.items()), self.name, self.note]
        return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()


def is_slug(text: str) -> bool:
    """Whether this could name an item at all; what could not is never shown to the database."""
    return re.fullmatch("[-a-zA-Z0-9_]{1,50}", text) is not None


def is_key(text: str) -> bool:
    """Whether this can be an idempotency key: 8 to 64 visible ASCII characters."""
    return re.fullmatch(f"[!-~]{{{MIN_KEY},{MAX_KEY}}}", text) is not None


def clean_text(text: str, *, lines: bool = False) -> str:
    """Text without control and invisible formatting characters; runs of blanks become one. `lines` keeps
    newlines."""
    normal = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") and c != "\n" else c for c in normal)
    kept = "".join(c for c in kept if unicodedata.category(c) not in ("Cf", "Cs", "Co") or c == "\u200d")
    rows = [" ".join(row.split()) for row in kept.split("\n")]
    return "\n".join(rows).strip() if lines else " ".join(row for row in rows if row)


def items_of(wish: Wish) -> dict[str, MenuItem]:
    """The menu's items that the wish names, by slug. One query."""
    return {item.slug: item for item in MenuItem.objects.filter(slug__in=list(wish.lines))}


def total_of(wish: Wish, items: Mapping[str, MenuItem]) -> int:
    """What the wish costs now, in minor units, over the items that are known."""
    return sum(
        money.line_total(price=items[slug].price, quantity=quantity)
        for slug, quantity in wish.lines.items()
        if slug in items
    )


def problems_of(wish: Wish, items: Mapping[str, MenuItem]) -> list[Problem]:
    """Everything that keeps this wish from being placed now; empty when nothing does."""
    return [*problems_of_lines(wish.lines, items), *_problems_of_texts(wish), *_problem_of_price(wish, items)]


def problems_of_lines(lines: Mapping[str, int], items: Mapping[str, MenuItem]) -> list[Problem]:
    if not lines:
        return [Problem("empty", _("Nothing is in the order yet. Add something from the menu."))]
    if len(lines) > MAX_LINES:
        return [
            Problem(
                "too_many_lines",
                _("The order names %(found)d different items; at most %(limit)d fit in one order. Split it.")
                % {"found": len(lines), "limit": MAX_LINES},
            )
        ]
    found = (_problem_of_line(slug, quantity, items.get(slug)) for slug, quantity in lines.items())
    return [problem for problem in found if problem]


def _problem_of_line(slug: str, quantity: int, item: MenuItem | None) -> Problem | None:
    if item is None:
        return Problem("unknown_item", _("“%(item)s” is not on the menu. Take it out.") % {"item": slug}, slug)
    if not 1 <= quantity <= MAX_QUANTITY:
        message = _("%(name)s: the quantity is %(quantity)d; choose 1 to %(limit)d.")
        return Problem("quantity", message % {"name": item.name, "quantity": quantity, "limit": MAX_QUANTITY}, slug)
    if not item.available:
        return Problem(
            "unavailable",
            _("%(name)s is not sold at the moment. Take it out.") % {"name": item.name},
            slug,
            0,
        )
    if item.stock == 0:
        return Problem("sold_out", _("%(name)s is sold out. Take it out.") % {"name": item.name}, slug, 0)
    if item.stock is not None and item.stock < quantity:
        return not_enough(item.name, slug, item.stock)
    return None


def not_enough(name: str, slug: str, left: int) -> Problem:
    if left <= 0:
        return Problem("sold_out", _("%(name)s is sold out. Take it out.") % {"name": name}, slug, 0)
    message = ngettext(
        "Only %(left)d %(name)s is left. Take fewer.", "Only %(left)d of %(name)s are left. Take fewer.", left
    )
    return Problem("not_enough", message % {"left": left, "name": name}, slug, left)


def _problems_of_texts(wish: Wish) -> Iterable[Problem]:
    if not wish.name:
        yield Problem("name", _("Tell us a name that we can call when the order is ready."))
    if len(wish.name) > MAX_NAME:
        yield Problem(
            "name",
            _("The name has %(found)d characters; at most %(limit)d fit. Shorten it.")
            % {"found": len(wish.name), "limit": MAX_NAME},
        )
    if len(wish.note) > MAX_NOTE:
        yield Problem(
            "note",
            _("The note has %(found)d characters; at most %(limit)d fit. Shorten it.")
            % {"found": len(wish.note), "limit": MAX_NOTE},
        )


def _problem_of_price(wish: Wish, items: Mapping[str, MenuItem]) -> Iterable[Problem]:
    total = total_of(wish, items)
    if wish.expected_total is None or wish.expected_total == total:
        return
    currency = conf.currency()
    yield Problem(
        "price_changed",
        _("The total is now %(now)s, it was %(before)s. Look at it and place the order again.")
        % {"now": money.display(total, currency), "before": money.display(wish.expected_total, currency)},
    )
