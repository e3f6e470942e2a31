"""The kitchen's stations: each says what it has made, and the last one makes the order ready."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ordering.models import Order, OrderEvent, OrderLine, Status
from ordering.orders.errors import NotPossibleError
from ordering.orders.history import move
from ordering.orders.moving import moved_meanwhile, stations_of


@transaction.atomic
def make(*, order: Order, station: str, actor: str) -> Order:
    """A station has made all that it had to make. Its first begins the order, its last makes it ready.

    A second click does nothing. Raises NotPossibleError.
    """
    order = _locked(order)
    if order.status not in (Status.RECEIVED, Status.PREPARING):
        if order.status in (Status.READY, Status.COLLECTED):
            return order
        raise moved_meanwhile(order)
    now = timezone.now()
    lines = list(order.lines.all())
    for line in lines:
        if not line.made_at and station in stations_of(line) and station not in line.made:
            line.made = [*line.made, station]
            line.made_at = now if set(line.made) >= set(stations_of(line)) else None
    _save(order, lines)
    if order.status == Status.RECEIVED:
        move(order, Status.RECEIVED, Status.PREPARING, OrderEvent.Kind.ADVANCED, actor, at=now)
    if all(line.made_at for line in lines):
        move(order, Status.PREPARING, Status.READY, OrderEvent.Kind.ADVANCED, actor, at=now)
    return order


@transaction.atomic
def unmake(*, order: Order, station: str, actor: str) -> Order:
    """Take back that a station has made its part; an order that was ready is prepared again. Raises
    NotPossibleError."""
    order = _locked(order)
    if order.status not in (Status.PREPARING, Status.READY):
        raise NotPossibleError(
            _("Order %(number)d is not being prepared, so nothing of it can be taken back.") % {"number": order.number}
        )
    lines = [line for line in order.lines.all() if station in stations_of(line)]
    for line in lines:
        # A line that was made by a word for the whole order was made by each of its stations.
        made = stations_of(line) if line.made_at and not line.made else line.made
        line.made = [other for other in made if other != station]
        line.made_at = None
    _save(order, lines)
    if order.status == Status.READY:
        move(order, Status.READY, Status.PREPARING, OrderEvent.Kind.UNDONE, actor)
    return order


def _locked(order: Order) -> Order:
    """Two stations that finish at the same moment take turns, so that one of them sees that all is made."""
    return Order.objects.select_for_update().get(pk=order.pk)


def _save(order: Order, lines: list[OrderLine]) -> None:
    OrderLine.objects.bulk_update(lines, ["made", "made_at"])
    Order.objects.filter(pk=order.pk).update(revision=F("revision") + 1)
