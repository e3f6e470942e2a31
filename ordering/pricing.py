"""What a line of a cart or an order is and costs. Pure: plain data in, plain data out, no database and no Django.

A dish is an item of the menu with everything that can be chosen about it: the option groups of the item, and for a
combo its parts, which are groups of which exactly one choice is taken. A line names its choices as pairs (group,
choice) of slugs. Money is in minor units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Counted:
    """A row whose stock is counted: `kind` is "item" or "option", `pk` its primary key, `left` what was left when it
    was read. Two are equal when they are the same row."""

    kind: str
    pk: int
    name: str = field(compare=False, default="")
    left: int = field(compare=False, default=0)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a group. `own` is its name in the shop's own language where that is another than `name`'s;
    `counted` is None where nothing is counted."""

    slug: str
    name: str
    price: int = 0
    own: str = ""
    available: bool = True
    counted: Counted | None = None
    preselected: bool = False
    allergens: tuple[str, ...] = ()
    station: str = ""

    @property
    def in_stock(self) -> bool:
        return self.available and (self.counted is None or self.counted.left > 0)


@dataclass(frozen=True, slots=True)
class Group:
    """What can be chosen: at least `minimum` and at most `maximum` different choices. `part` marks a combo's part."""

    slug: str
    name: str
    minimum: int
    maximum: int
    choices: tuple[Choice, ...]
    part: bool = False

    @property
    def required(self) -> bool:
        return self.minimum > 0

    @property
    def fixed(self) -> bool:
        """A part without an alternative: nobody has to be asked."""
        return self.part and len(self.choices) == 1

    @property
    def single(self) -> bool:
        return self.maximum == 1


@dataclass(frozen=True)
class Dish:
    """An item of the menu with all of its groups, named in the language in which it was read, and in the shop's own
    (`own`) where that is another. `station` is where in the kitchen it is made; `tax_rate` in basis points, None for
    the shop's own."""

    pk: int
    slug: str
    name: str
    price: int
    own: str = ""
    available: bool = True
    counted: Counted | None = None
    groups: tuple[Group, ...] = ()
    allergens: tuple[str, ...] = ()
    station: str = ""
    tax_rate: int | None = None

    @cached_property
    def known(self) -> dict[Pair, tuple[Group, Choice]]:
        return {(group.slug, choice.slug): (group, choice) for group in self.groups for choice in group.choices}

    @cached_property
    def preset(self) -> tuple[Pair, ...]:
        """What one tap takes: the preselected choices that can be had, and those that have no alternative."""
        return tuple((group.slug, choice.slug) for group in self.groups for choice in _preset(group))

    @cached_property
    def held(self) -> frozenset[str]:
        """The allergens that whoever names this dish may get: its own, those of everything that may fill a place that
        has to be filled, and those of what one tap adds. What is sold out today counts: stock says nothing of food."""
        found = set(self.allergens)
        for group in self.groups:
            for choice in group.choices:
                if group.required or choice.preselected:
                    found.update(choice.allergens)
        return frozenset(found)

    @cached_property
    def in_stock(self) -> bool:
        """Whether any line of this dish can be sold now."""
        own = self.available and (self.counted is None or self.counted.left > 0)
        return own and all(sum(c.in_stock for c in group.choices) >= group.minimum for group in self.groups)

    @cached_property
    def one_tap(self) -> bool:
        """Whether it can be put into the cart without a question."""
        return self.in_stock and not faults(self, self.preset)


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a dish with these choices. The choices are sorted, so that equal lines compare equal."""

    slug: str
    quantity: int = 1
    choices: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(sorted({(group, choice) for group, choice in self.choices})))

    @property
    def key(self) -> str:
        """What tells this line from the others of its cart: "cheese-royale;extras=bacon;extras=egg"."""
        return ";".join([self.slug, *(f"{group}={choice}" for group, choice in self.choices)])


_MOST_PAIRS = 60  # far more than anything has


def parse_key(key: str, quantity: int = 1) -> Line:
    """The line that `Line.key` names. Raises ValueError for what is none."""
    slug, *pairs = key.split(";", _MOST_PAIRS + 1)
    choices = [(group, choice) for group, equals, choice in (pair.partition("=") for pair in pairs) if equals]
    if not slug or len(choices) != len(pairs) or len(pairs) > _MOST_PAIRS:
        raise ValueError(f"{key[:80]!r} names no line; expected item;group=choice;group=choice.")
    return Line(slug, quantity, tuple(choices))


def merged(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines, those of one key made one, in the order of their first appearance."""
    sums: dict[str, int] = {}
    first: dict[str, Line] = {}
    for line in lines:
        first.setdefault(line.key, line)
        sums[line.key] = sums.get(line.key, 0) + line.quantity
    return tuple(Line(line.slug, sums[key], line.choices) for key, line in first.items())


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the choices of a line: unknown_choice, choice_unavailable, choice_sold_out, too_few or
    too_many. `group` and `choice` are names as people read them, or the slug of what is not known."""

    code: str
    group: str = ""
    choice: str = ""
    limit: int = 0


def filled(dish: Dish, line: Line) -> Line:
    """The line, where it says nothing about a required group with what is preselected there."""
    said = {group for group, _choice in line.choices}
    silent = [group for group in dish.groups if group.required and group.slug not in said]
    more = [(group.slug, choice.slug) for group in silent for choice in _preset(group)]
    return Line(line.slug, line.quantity, (*line.choices, *more)) if more else line


def faults(dish: Dish, pairs: Iterable[Pair]) -> list[Fault]:
    """Everything that keeps these choices from being sold; empty when nothing does."""
    taken = set(pairs)
    found = [Fault("unknown_choice", group, choice) for group, choice in sorted(taken - dish.known.keys())]
    for group in dish.groups:
        chosen = [choice for choice in group.choices if (group.slug, choice.slug) in taken]
        if len(chosen) < group.minimum:
            found.append(Fault("too_few", group.name, limit=group.minimum))
        if len(chosen) > group.maximum:
            found.append(Fault("too_many", group.name, limit=group.maximum))
        for choice in chosen:
            if not choice.in_stock:
                code = "choice_sold_out" if choice.available else "choice_unavailable"
                found.append(Fault(code, group.name, choice.name))
    return found


def chosen(dish: Dish, line: Line) -> list[tuple[Group, Choice]]:
    """What the line chose, in the order of the menu; what is not known is left out."""
    wanted = set(line.choices)
    return [found for pair, found in dish.known.items() if pair in wanted]


def unit_price(dish: Dish, line: Line) -> int:
    """One portion of the line with all of its choices."""
    return dish.price + sum(choice.price for _group, choice in chosen(dish, line))


def describe(dish: Dish, line: Line) -> str:
    """The choices in a few words: "Bacon, Fried egg"."""
    return ", ".join(choice.name for _group, choice in chosen(dish, line))


def as_sold(dish: Dish, line: Line) -> list[dict[str, Any]]:
    """The choices as an order keeps them, names and prices of this moment: [{"group", "choice", "name", "shown",
    "price", "part", "station"}]. `name` is for the kitchen, `shown` in the customer's language; `part` marks parts of a
    combo, and `station` says where they are made."""
    return [
        {
            "group": group.slug,
            "choice": choice.slug,
            "name": choice.own or choice.name,
            "shown": choice.name,
            "price": choice.price,
            "part": group.part,
            "station": choice.station,
        }
        for group, choice in chosen(dish, line)
    ]


def takes(dish: Dish, line: Line) -> dict[Counted, int]:
    """The counted rows that the whole line takes, and how many of each."""
    rows = [dish.counted, *(choice.counted for _group, choice in chosen(dish, line))]
    found: dict[Counted, int] = {}
    for row in rows:
        if row is not None:
            found[row] = found.get(row, 0) + line.quantity
    return found


def takes_of(dishes: Mapping[str, Dish], lines: Iterable[Line]) -> dict[Counted, int]:
    """The same for all lines together; lines of unknown dishes take nothing."""
    found: dict[Counted, int] = {}
    for line in lines:
        if dish := dishes.get(line.slug):
            for row, quantity in takes(dish, line).items():
                found[row] = found.get(row, 0) + quantity
    return found


def _preset(group: Group) -> list[Choice]:
    if group.fixed:
        return list(group.choices)
    picked = [choice for choice in group.choices if choice.preselected and choice.in_stock]
    return picked[: group.maximum]
