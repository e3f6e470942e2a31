"""Counting down what an order takes, and up what it gives back. Every function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import F

from ordering.models import MenuItem, Option, Order
from ordering.orders.errors import CannotPlaceError
from ordering.pricing import Counted
from ordering.wishes import not_enough

# The rows whose stock is counted, by what `pricing.Counted` and `OrderLine.taken` call them.
COUNTED: dict[str, type[MenuItem] | type[Option]] = {"item": MenuItem, "option": Option}


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
