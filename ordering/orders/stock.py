"""Counting down what an order takes, and up what it gives back. Every function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Any

from django.db import connection
from django.db.models import F

from ordering import pickup
from ordering.models import ComboChoice, ComboPart, MenuItem, Option, OptionGroup, Order
from ordering.orders.errors import CannotPlaceError
from ordering.pricing import Counted, Dish, Line, chosen
from ordering.wishes import not_enough

_ITEMS, _OPTIONS, _GROUPS, _PARTS, _CHOICES, _LINKS = (
    model._meta.db_table
    for model in (MenuItem, Option, OptionGroup, ComboPart, ComboChoice, MenuItem.option_groups.through)
)
# What a row is: an item ("", slug, ""), an option (group, slug, ""), a group of a dish (its key, slug, "least most") or
# one choice of a part of a combo (its key, part, item).
_ITEM, _GROUP, _PART, _OPTION, _HOURS = range(5)
_Key = tuple[int, str, str, str]
# Its price, whether it is sold and whether it is counted; None where that does not matter.
_Row = tuple[int | None, bool, bool]
_ITEMS_AND_GROUPS = f"""
SELECT {_HOURS}, kind, said, '', 0, true, 0 FROM ({pickup.STATEMENT}) AS hours
UNION ALL
SELECT {_ITEM}, '', slug, '', price, available, stock FROM {_ITEMS} WHERE slug IN ({{items}})
UNION ALL
SELECT {_GROUP}, CAST(l.menuitem_id AS text), g.slug, CAST(g.minimum AS text) || ' ' || CAST(g.maximum AS text), 0,
true, 0 FROM {_LINKS} l JOIN {_GROUPS} g ON g.id = l.optiongroup_id WHERE l.menuitem_id IN ({{dishes}})
"""  # noqa: S608
_PARTS_TOO = f"""
UNION ALL
SELECT {_PART}, CAST(p.combo_id AS text), p.slug, m.slug, c.price, true, 0 FROM {_PARTS} p
JOIN {_CHOICES} c ON c.part_id = p.id JOIN {_ITEMS} m ON m.id = c.item_id WHERE p.combo_id IN ({{dishes}})
"""  # noqa: S608
_OPTIONS_TOO = f"""
UNION ALL
SELECT {_OPTION}, g.slug, o.slug, '', o.price, o.available, o.stock FROM {_OPTIONS} o
JOIN {_GROUPS} g ON g.id = o.group_id WHERE g.slug IN ({{groups}}) AND o.slug IN ({{slugs}})
"""  # noqa: S608
# The rows whose stock is counted, by what `pricing.Counted` and `OrderLine.taken` call them.
COUNTED: dict[str, type[MenuItem] | type[Option]] = {"item": MenuItem, "option": Option}


def as_read(dishes: Mapping[str, Dish], lines: Iterable[Line], shop: pickup.Hours) -> bool:
    """Whether the rows that the lines are made of still stand as the dishes say: there, sold, at that price, counted or
    not, and with the same to choose; and pause, slots and opening hours as the shop says. How many are left is what
    `take` asks. One query."""
    expected: dict[_Key, _Row] = {}
    asked = {line.slug for line in lines}
    for slug in asked:
        expected |= _structure(dishes[slug])
    for line in lines:
        dish = dishes[line.slug]
        expected[_ITEM, "", dish.slug, ""] = (dish.price, dish.available, dish.counted is not None)
        for group, choice in chosen(dish, line):
            counted = choice.counted is not None
            if group.part:
                # It costs what the combo says; ordered for itself as well, what it says itself.
                expected.setdefault((_ITEM, "", choice.slug, ""), (None, choice.available, counted))
            else:
                expected[_OPTION, group.slug, choice.slug, ""] = (choice.price, choice.available, counted)
    found, rows = _rows(expected, {dishes[slug].pk for slug in asked}, shop)
    same = found.keys() == expected.keys() and all(_fits(row, found[key]) for key, row in expected.items())
    return same and rows == shop.rows


def _structure(dish: Dish) -> dict[_Key, _Row]:
    """What there is to choose about a dish, as `_rows` finds it."""
    expected: dict[_Key, _Row] = {}
    for group in dish.groups:
        if group.part:
            for choice in group.choices:
                expected[_PART, str(dish.pk), group.slug, choice.slug] = (choice.price, True, True)
        else:
            expected[_GROUP, str(dish.pk), group.slug, f"{group.minimum} {group.maximum}"] = (None, True, True)
    return expected


def _fits(expected: _Row, found: _Row) -> bool:
    return all(wanted is None or wanted == here for wanted, here in zip(expected, found, strict=True))


def _rows(keys: Collection[_Key], dishes: set[int], shop: pickup.Hours) -> tuple[dict[_Key, _Row], frozenset[Any]]:
    """The rows of these items and options, and all that there is to choose about these dishes; and those of the shop's
    hours."""
    items = [slug for kind, _group, slug, _none in keys if kind == _ITEM]
    options = [(group, slug) for kind, group, slug, _none in keys if kind == _OPTION]
    # By hand: every order asks this, and what the ORM takes to write it is a fifth of placing one.
    statement = _ITEMS_AND_GROUPS.format(items=_marks(items), dishes=_marks(dishes))
    values: list[str | int] = [*pickup.bounds(shop.now), *items, *dishes]
    # Each table more costs PostgreSQL time to plan: what is no combo will not become one at this moment.
    if any(kind == _PART for kind, _dish, _part, _item in keys):
        statement += _PARTS_TOO.format(dishes=_marks(dishes))
        values += dishes
    if options:
        groups, slugs = {group for group, _slug in options}, {slug for _group, slug in options}
        statement += _OPTIONS_TOO.format(groups=_marks(groups), slugs=_marks(slugs))
        values += [*groups, *slugs]
    wanted = set(options)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
    found = {
        (kind, one, two, three): (price, bool(on), n is not None)
        for kind, one, two, three, price, on, n in rows
        if kind < _OPTION or (kind == _OPTION and (one, two) in wanted)
    }
    return found, frozenset((one, two) for kind, one, two, *_ in rows if kind == _HOURS)


def _marks(values: Sized) -> str:
    return ", ".join(["%s"] * len(values))


def take(wanted: Mapping[Counted, int]) -> None:
    """Count the stock down, or raise CannotPlaceError; the caller's transaction then takes back what was counted."""
    missing = []
    # Always in the same order, so that two orders for the same rows never wait for each other.
    for row, quantity in sorted(wanted.items(), key=lambda pair: (pair[0].kind, pair[0].pk)):
        rows = COUNTED[row.kind].objects.filter(pk=row.pk)
        if not rows.filter(stock__gte=quantity).update(stock=F("stock") - quantity):
            left = rows.values_list("stock", flat=True).first()
            missing.append(not_enough(row.name, "", left or 0))
    if missing:
        raise CannotPlaceError(missing)


def give_back(order: Order) -> None:
    for (kind, pk), quantity in sorted(_taken_by(order).items()):
        COUNTED[kind].objects.filter(pk=pk, stock__isnull=False).update(stock=F("stock") + quantity)


def take_again(order: Order) -> None:
    """Take what a canceled order had given back. Raises CannotPlaceError where it has been sold meanwhile."""
    taken = _taken_by(order)
    rows = {
        (kind, row.pk): Counted(kind, row.pk, row.title, row.stock or 0)
        for kind, model in COUNTED.items()
        for row in model.objects.filter(pk__in=[pk for k, pk in taken if k == kind], stock__isnull=False)
    }
    take({row: taken[which] for which, row in rows.items()})


def _taken_by(order: Order) -> dict[tuple[str, int], int]:
    """The counted rows that an order's lines took. Lines of releases that knew no choices say only that their item was
    counted."""
    taken: dict[tuple[str, int], int] = {}
    for line in order.lines.all():
        old: list[Any] = [["item", line.item_id, line.quantity]] if line.counted and line.item_id else []
        for kind, pk, quantity in line.taken or old:
            taken[kind, pk] = taken.get((kind, pk), 0) + quantity
    return taken
