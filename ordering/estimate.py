"""When an order will be ready: what the kitchen needs for one, and for all that came before it. Pure arithmetic over
one count."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Q
from django.utils import timezone

from ordering import pickup
from ordering.models import Order, ShopState, Status


@dataclass(frozen=True, slots=True)
class Estimate:
    """`ready_at` is on a whole minute; `minutes` is how long from now, never less than one."""

    ready_at: dt.datetime
    minutes: int
    ahead: int


def estimate(*, now: dt.datetime, since: dt.datetime, ahead: int, state: ShopState) -> Estimate:
    """For an order that the kitchen has known since `since`, with `ahead` open orders before it.

    An order that takes longer than thought is said to need a little more, never that it was ready in the past.
    """
    work = dt.timedelta(minutes=state.base_minutes + ahead * state.minutes_per_order)
    soonest = now + dt.timedelta(minutes=1 + ahead * state.minutes_per_order // 2)
    exact = max(since + work, soonest)
    ready_at = exact.replace(second=0, microsecond=0) + dt.timedelta(minutes=1 if exact.second else 0)
    return Estimate(ready_at, max(1, -(-(ready_at - now).total_seconds() // 60).__int__()), ahead)


def for_new_order(state: ShopState, *, now: dt.datetime | None = None) -> Estimate:
    """For whoever would order now. One query."""
    now = now or timezone.now()
    return estimate(now=now, since=now, ahead=_open_orders(now, state).count(), state=state)


def for_order(order: Order, *, now: dt.datetime | None = None) -> Estimate | None:
    """For an order that is not ready yet; None for any other. Two queries.

    One that is to be collected at a time is ready then, unless its kitchen is late.
    """
    if order.status not in (Status.RECEIVED, Status.PREPARING):
        return None
    now, state = now or timezone.now(), pickup.state()
    if order.pickup_at and order.pickup_at > now + dt.timedelta(minutes=state.lead_minutes):
        return Estimate(order.pickup_at, int((order.pickup_at - now).total_seconds() // 60), 0)
    before = Q(placed_at__lt=order.placed_at)
    if order.status == Status.PREPARING:
        before &= Q(status=Status.PREPARING)
    ahead = _open_orders(now, state).filter(before).count()
    found = estimate(now=now, since=order.placed_at, ahead=ahead, state=state)
    if order.pickup_at and order.pickup_at > found.ready_at:
        return Estimate(order.pickup_at, int((order.pickup_at - now).total_seconds() // 60), ahead)
    return found


def _open_orders(now: dt.datetime, state: ShopState):  # type: ignore[no-untyped-def]
    """What the kitchen has to make now; what is for later does not count yet."""
    soon = now + dt.timedelta(minutes=state.lead_minutes)
    due = Q(pickup_at=None) | Q(pickup_at__lte=soon)
    return Order.objects.filter(due, status__in=[Status.RECEIVED, Status.PREPARING])
