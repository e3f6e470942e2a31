"""Counting down what an order takes, and up what it gives back. Every function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection
from django.db.models import F

from ordering.models import MenuItem, Option, OptionGroup, Order
from ordering.orders.errors import CannotPlaceError
from ordering.pricing import Counted, Dish, Line, Pair, chosen
from ordering.wishes import not_enough

_ITEMS, _OPTIONS, _GROUPS = (model._meta.db_table for model in (MenuItem, Option, OptionGroup))
# Primary key, price, whether it is sold and whether it is counted; None where that does not matter.
_Row = tuple[int | None, int | None, bool, bool]
# The rows whose stock is counted, by what `pricing.Counted` and `OrderLine.taken` call them.
COUNTED: dict[str, type[MenuItem] | type[Option]] = {"item": MenuItem, "option": Option}


def as_read(dishes: Mapping[str, Dish], lines: Iterable[Line]) -> bool:
    """Whether the rows that the lines are made of still stand as the dishes say: there, sold, at that price, and
    counted or not. How many are left is what `take` asks. One query."""
    expected: list[tuple[Pair, _Row]] = []
    for line in lines:
        dish = dishes[line.slug]
        expected.append((("", dish.slug), (dish.pk, dish.price, dish.available, dish.counted is not None)))
        for group, choice in chosen(dish, line):
            counted = choice.counted is not None
            if group.part:
                # It costs what the combo says.
                expected.append((("", choice.slug), (None, None, choice.available, counted)))
            else:
                expected.append(((group.slug, choice.slug), (None, choice.price, choice.available, counted)))
    found = _rows({pair for pair, _row in expected})
    return all(pair in found and _fits(row, found[pair]) for pair, row in expected)


def _fits(expected: _Row, found: _Row) -> bool:
    return all(wanted is None or wanted == here for wanted, here in zip(expected, found, strict=True))


def _rows(pairs: set[Pair]) -> dict[Pair, _Row]:
    """Items by ("", slug) and options by (group, slug)."""
    groups, options = {group for group, _slug in pairs if group}, {slug for group, slug in pairs if group}
    items = {slug for group, slug in pairs if not group}
    # By hand: every order asks this, and what the ORM takes to write it is a fifth of placing one.
    statement = f"SELECT '', slug, id, price, available, stock FROM {_ITEMS} WHERE slug IN ({_marks(items)})"  # noqa: S608
    if options:
        statement += (
            f" UNION ALL SELECT g.slug, o.slug, o.id, o.price, o.available, o.stock FROM {_OPTIONS} o"  # noqa: S608
            f" JOIN {_GROUPS} g ON g.id = o.group_id"
            f" WHERE g.slug IN ({_marks(groups)}) AND o.slug IN ({_marks(options)})"
        )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*items, *groups, *options])
        return {
            (group, slug): (pk, price, bool(on), n is not None) for group, slug, pk, price, on, n in cursor.fetchall()
        }


def _marks(values: set[str]) -> str:
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
