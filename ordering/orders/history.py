"""The status of an order and its history, which change together."""

from __future__ import annotations

import datetime as dt

from django.db.models import F
from django.utils import timezone

from ordering.models import Order, OrderEvent


def move(
    order: Order,
    before: str,
    after: str,
    kind: OrderEvent.Kind,
    actor: str,
    reason: str = "",
    at: dt.datetime | None = None,
) -> bool:
    """Change the status if it still is `before`, and refresh `order` either way. Only one of two callers wins."""
    now = at or timezone.now()
    moved = Order.objects.filter(pk=order.pk, status=before).update(
        status=after, status_since=now, revision=F("revision") + 1
    )
    order.refresh_from_db()
    if moved:
        remember(order, kind, before, after, now, actor, reason)
    return bool(moved)


def remember(
    order: Order, kind: OrderEvent.Kind, before: str, after: str, at: dt.datetime, actor: str, reason: str = ""
) -> None:
    OrderEvent.objects.create(
        order=order,
        kind=kind,
        from_status=before,
        to_status=after,
        at=at,
        actor=actor[:150],
        reason=reason[:200],
    )


def canceled_from(order: Order) -> str | None:
    """The status in which a canceled order was canceled last."""
    event = order.events.filter(kind=OrderEvent.Kind.CANCELED).last()
    return event.from_status if event else None
