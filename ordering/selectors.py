"""What pages and the API read. The number of queries never grows with the number of stored orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from itertools import groupby

from django.db.models import Prefetch

from ordering.models import (
    Category,
    ComboChoice,
    ComboPart,
    MenuItem,
    Option,
    OptionGroup,
    Order,
    OrderEvent,
)
from ordering.pricing import Choice, Counted, Dish, Group


def menu() -> list[tuple[Category, list[MenuItem]]]:
    """The categories in their order with their items; categories without items are left out. One query."""
    items = MenuItem.objects.select_related("category").order_by(
        "category__position", "category__name", "position", "name"
    )
    return [(category, list(group)) for category, group in groupby(items, key=lambda item: item.category)]


def dishes(slugs: Iterable[str] | None = None) -> dict[str, Dish]:
    """The items with these slugs, or all, with everything that can be chosen about them, by slug. Six queries at most,
    however many items there are; texts are in the active language."""
    items = MenuItem.objects.select_related("category").prefetch_related(
        "option_groups__options", Prefetch("parts__choices", ComboChoice.objects.select_related("item__category"))
    )
    found = items if slugs is None else items.filter(slug__in=list(slugs))
    return {item.slug: _dish(item) for item in found}


def _dish(item: MenuItem) -> Dish:
    groups = [_part(part) for part in item.parts.all()] + [_group(group) for group in item.option_groups.all()]
    return Dish(
        pk=item.pk,
        slug=item.slug,
        name=item.title,
        own=item.name,
        price=item.price,
        available=item.available,
        counted=_counted("item", item, item.title),
        groups=tuple(groups),
        allergens=tuple(item.allergens),
        station=item.station or item.category.station,
        tax_rate=item.category.tax_rate if item.tax_rate is None else item.tax_rate,
    )


def _part(part: ComboPart) -> Group:
    choices = [
        Choice(
            slug=choice.item.slug,
            name=choice.item.title,
            own=choice.item.name,
            price=choice.price,
            available=choice.item.available,
            counted=_counted("item", choice.item, choice.item.title),
            preselected=choice.preselected,
            allergens=tuple(choice.item.allergens),
            station=choice.item.station or choice.item.category.station,
        )
        for choice in part.choices.all()
    ]
    return Group(part.slug, part.title, minimum=1, maximum=1, choices=tuple(choices), part=True)


def _group(group: OptionGroup) -> Group:
    choices = [
        Choice(
            slug=option.slug,
            name=option.title,
            own=option.name,
            price=option.price,
            available=option.available,
            counted=_counted("option", option, option.title),
            preselected=option.preselected,
            allergens=tuple(option.allergens),
        )
        for option in group.options.all()
    ]
    return Group(group.slug, group.title, group.minimum, group.maximum, tuple(choices))


def _counted(kind: str, row: MenuItem | Option, name: str) -> Counted | None:
    return None if row.stock is None else Counted(kind, row.pk, name, row.stock)


def menu_stamp() -> int:
    """A number that is another once anything has changed that the menu shows. Seven short queries, no objects."""
    tables = (Category, MenuItem, OptionGroup, Option, ComboPart, ComboChoice)
    rows = [list(table._base_manager.order_by("pk").values_list()) for table in tables]
    links = list(MenuItem.option_groups.through._base_manager.order_by("pk").values_list())
    return hash(repr((rows, links)))


def order_by_token(token: str) -> Order | None:
    """An order with its lines and its history. Three queries."""
    return Order.objects.filter(token=token).prefetch_related("lines", "events").first()


def orders_of(customer: int, *, limit: int) -> list[Order]:
    """The last orders of an account with their lines, the newest first. Two queries."""
    return list(Order.objects.filter(customer=customer).order_by("-placed_at").prefetch_related("lines")[:limit])


def reached(events: Iterable[OrderEvent]) -> dict[str, dt.datetime]:
    """When the order last came to each status that it has gone through and not been taken back from."""
    times: dict[str, dt.datetime] = {}
    for event in events:
        if event.kind == OrderEvent.Kind.UNDONE:
            times.pop(event.from_status, None)
        else:
            times[event.to_status] = event.at
    return times
