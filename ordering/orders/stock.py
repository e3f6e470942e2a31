"""Counting down what an order takes, and up what it gives back. Every function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import F

from ordering.models import MenuItem, Option, Order
from ordering.orders.errors import CannotPlaceError
from ordering.pricing import Counted, Dish, Line, Pair, chosen
from ordering.wishes import not_enough

# The rows whose stock is counted, by what `pricing.Counted` and `OrderLine.taken` call them.
COUNTED: dict[str, type[MenuItem] | type[Option]] = {"item": MenuItem, "option": Option}


def as_read(dishes: Mapping[str, Dish], lines: Iterable[Line]) -> bool:
    """Whether the rows that the lines are made of still stand as the dishes say: there, sold, at that price, and
    counted or not. How many are left is what `take` asks. One query, and one more where an option was chosen."""
    items: dict[str, set[tuple[Any, ...]]] = {}
    options: dict[Pair, tuple[Any, ...]] = {}
    for line in lines:
        dish = dishes[line.slug]
        items.setdefault(dish.slug, set()).add((dish.pk, dish.price, dish.available, dish.counted is not None))
        for group, choice in chosen(dish, line):
            counted = choice.counted is not None
            if group.part:
                items.setdefault(choice.slug, set()).add((None, None, choice.available, counted))
            else:
                options[group.slug, choice.slug] = (choice.price, choice.available, counted)
    return _items_stand(items) and _options_stand(options)


def _items_stand(expected: Mapping[str, set[tuple[Any, ...]]]) -> bool:
    rows = MenuItem.objects.filter(slug__in=expected).values_list("slug", "pk", "price", "available", "stock")
    # What fills a place of a combo costs what the combo says.
    found = {slug: {(pk, price, on, n is not None), (None, None, on, n is not None)} for slug, pk, price, on, n in rows}
    return all(wanted <= found.get(slug, set()) for slug, wanted in expected.items())


def _options_stand(expected: Mapping[Pair, tuple[Any, ...]]) -> bool:
    if not expected:
        return True
    rows = Option.objects.filter(
        group__slug__in={group for group, _ in expected}, slug__in={slug for _, slug in expected}
    )
    values = rows.values_list("group__slug", "slug", "price", "available", "stock")
    found = {(group, slug): (price, on, n is not None) for group, slug, price, on, n in values}
    return all(found.get(pair) == wanted for pair, wanted in expected.items())


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
