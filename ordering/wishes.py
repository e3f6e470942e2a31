"""What a customer asks for, cleaned, and everything that stands in its way. Reads only; `orders.place`
acts."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ordering import conf, money, pricing, selectors
from ordering.models import Order
from ordering.pricing import Dish, Fault, Line

MAX_QUANTITY = 20
MAX_LINES = 30
MAX_CHOICES = 30
MAX_NAME = Order._meta.get_field("name").max_length or 0
_LONGEST = 4_000
MAX_NOTE = Order._meta.get_field("note").max_length or 0
MAX_KEY = Order._meta.get_field("idempotency_key").max_length or 0
MIN_KEY = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps an order from being placed.

    `code` is for programs: empty, too_many_lines, quantity, unknown_item, unavailable, sold_out, not_enough,
    unknown_choice, choice_sold_out, choice_unavailable, too_few, too_many, name, note, price_changed. `message` is for
    people and says what to do. `item` is a slug, `line` the key of a line. `available` is how many are left.
    """

    code: str
    message: str
    item: str = ""
    available: int | None = None
    line: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be ordered. No two of the lines have one key; `expected_total` is what the customer saw
    that the lines cost, before discount and tip."""

    lines: tuple[Line, ...]
    name: str = ""
    note: str = ""
    expected_total: int | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is asked for; the order of the lines does not count.

        Lines without choices are written as releases did that knew no others: their keys stay good.
        """
        plain = sorted((line.slug, line.quantity) for line in self.lines if not line.choices)
        chosen = sorted((line.slug, line.quantity, line.choices) for line in self.lines if line.choices)
        asked = [plain, self.name, self.note, *([chosen] if chosen else [])]
        return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()


def is_slug(text: str) -> bool:
    """Whether this could name an item at all; what could not is never shown to the database."""
    return re.fullmatch("[-a-zA-Z0-9_]{1,50}", text) is not None


def is_key(text: str) -> bool:
    """Whether this can be an idempotency key: 8 to 64 visible ASCII characters."""
    return re.fullmatch(f"[!-~]{{{MIN_KEY},{MAX_KEY}}}", text) is not None


def clean_text(text: str, *, lines: bool = False) -> str:
    """Text without control and invisible formatting characters; runs of blanks become one. `lines` keeps
    newlines. What is far longer than any field is cut: marks are put in order in quadratic time."""
    normal = unicodedata.normalize("NFC", text[:_LONGEST]).replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") and c != "\n" else c for c in normal)
    kept = "".join(c for c in kept if unicodedata.category(c) not in ("Cf", "Cs", "Co") or c == "\u200d")
    rows = [" ".join(row.split()) for row in kept.split("\n")]
    return "\n".join(rows).strip() if lines else " ".join(row for row in rows if row)


def plain_lines(quantities: Mapping[str, int]) -> tuple[Line, ...]:
    """Lines without choices: so many of each slug."""
    return tuple(Line(slug, quantity) for slug, quantity in quantities.items())


def dishes_of(wish: Wish) -> dict[str, Dish]:
    """What the wish names of the menu, by slug. Three queries at most."""
    return selectors.dishes(line.slug for line in wish.lines)


def completed(lines: Iterable[Line], dishes: Mapping[str, Dish]) -> tuple[Line, ...]:
    """The lines with what is preselected where they say nothing about a required group; no two of one key."""
    known = (pricing.filled(dishes[line.slug], line) if line.slug in dishes else line for line in lines)
    return pricing.merged(known)


def total_of(lines: Iterable[Line], dishes: Mapping[str, Dish]) -> int:
    """What the lines cost now, in minor units, over the dishes that are known."""
    return sum(
        money.line_total(price=pricing.unit_price(dishes[line.slug], line), quantity=line.quantity)
        for line in lines
        if line.slug in dishes
    )


def problems_of(wish: Wish, dishes: Mapping[str, Dish]) -> list[Problem]:
    """Everything that keeps this wish from being placed now; empty when nothing does."""
    return [*problems_of_lines(wish.lines, dishes), *_problems_of_texts(wish), *_problem_of_price(wish, dishes)]


def problems_of_lines(lines: Sequence[Line], dishes: Mapping[str, Dish]) -> list[Problem]:
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
    problems = [problem for line in lines for problem in _problems_of_line(line, dishes.get(line.slug))]
    stopped = {problem.line for problem in problems}
    return problems + _problems_of_stock([line for line in lines if line.key not in stopped], dishes)


def _problems_of_line(line: Line, dish: Dish | None) -> list[Problem]:
    """What stands in the way of this line whatever else is ordered."""
    if dish is None:
        message = _("“%(item)s” is not on the menu. Take it out.") % {"item": line.slug}
        return [Problem("unknown_item", message, line.slug, line=line.key)]
    if not 1 <= line.quantity <= MAX_QUANTITY:
        message = _("%(name)s: the quantity is %(quantity)d; choose 1 to %(limit)d.")
        values = {"name": dish.name, "quantity": line.quantity, "limit": MAX_QUANTITY}
        return [Problem("quantity", message % values, line.slug, line=line.key)]
    if not dish.available:
        message = _("%(name)s is not sold at the moment. Take it out.") % {"name": dish.name}
        return [Problem("unavailable", message, line.slug, 0, line=line.key)]
    if dish.counted and dish.counted.left <= 0:
        return [replace(not_enough(dish.name, line.slug, 0), line=line.key)]
    return [
        Problem(fault.code, message_of(fault, dish), line.slug, line=line.key)
        for fault in pricing.faults(dish, line.choices)
    ]


def message_of(fault: Fault, dish: Dish) -> str:
    """What is wrong with a choice, in words that say what to do."""
    values = {"name": dish.name, "group": fault.group, "choice": fault.choice, "limit": fault.limit}
    if fault.code == "too_few":
        text = ngettext(
            "%(name)s: choose one for “%(group)s”.",
            "%(name)s: choose at least %(limit)d for “%(group)s”.",
            fault.limit,
        )
    elif fault.code == "too_many":
        text = ngettext(
            "%(name)s: choose only one for “%(group)s”.",
            "%(name)s: choose at most %(limit)d for “%(group)s”.",
            fault.limit,
        )
    elif fault.code == "choice_sold_out":
        text = _("%(name)s: %(choice)s is sold out. Choose something else.")
    elif fault.code == "choice_unavailable":
        text = _("%(name)s: %(choice)s is not sold at the moment. Choose something else.")
    else:
        text = _("%(name)s cannot be had with “%(choice)s” any more. Choose again.")
    return text % values


def _problems_of_stock(lines: Sequence[Line], dishes: Mapping[str, Dish]) -> list[Problem]:
    """What the lines together take more of than is left, said once, at the first line that takes it."""
    problems = []
    for row, wanted in pricing.takes_of(dishes, lines).items():
        if wanted > row.left:
            first = next(line for line in lines if row in pricing.takes(dishes[line.slug], line))
            problems.append(replace(not_enough(row.name, first.slug, row.left), line=first.key))
    return problems


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


def _problem_of_price(wish: Wish, dishes: Mapping[str, Dish]) -> Iterable[Problem]:
    total = total_of(wish.lines, dishes)
    if wish.expected_total is not None and wish.expected_total != total:
        yield price_changed(now=total, before=wish.expected_total)


def price_changed(*, now: int, before: int) -> Problem:
    currency = conf.currency()
    return Problem(
        "price_changed",
        _("The total is now %(now)s, it was %(before)s. Look at it and place the order again.")
        % {"now": money.display(now, currency), "before": money.display(before, currency)},
    )
