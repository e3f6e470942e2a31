"""Moving an order on, back, and out of the way."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from ordering import outbox, pickup, promos
from ordering.models import Order, OrderEvent, OrderLine, OutboxMail, Station, Status
from ordering.orders import stock
from ordering.orders.errors import CannotPlaceError, NotPossibleError
from ordering.orders.history import canceled_from, move
from ordering.payments import settling

NEXT: dict[str, Status] = {
    Status.RECEIVED: Status.PREPARING,
    Status.PREPARING: Status.READY,
    Status.READY: Status.COLLECTED,
}
BEFORE: dict[str, str] = {after: before for before, after in NEXT.items()}
CANCELABLE = tuple(NEXT)


def stations_of(line: OrderLine) -> list[str]:
    """Where a line is made: each part of a combo at its own station. What says none is made at the grill."""
    parts = [choice.get("station") or line.station for choice in line.choices if choice.get("part")]
    return list(dict.fromkeys(station or str(Station.GRILL) for station in parts or [line.station]))


@transaction.atomic
def advance(*, order: Order, expect: str, actor: str) -> Order:
    """Move an order on to the next status. `expect` is the status that the person saw.

    A second click does nothing, because the order has left `expect` by then. Raises NotPossibleError.
    """
    target = NEXT.get(expect)
    if target is None:
        raise NotPossibleError(_("An order that is %(status)s cannot be moved on.") % {"status": label(expect)})
    if not move(order, expect, target, OrderEvent.Kind.ADVANCED, actor):
        if order.status != target:
            raise moved_meanwhile(order)
        return order
    if target == Status.READY:
        order.lines.filter(made_at=None).update(made_at=order.status_since)
    return order


@transaction.atomic
def undo(*, order: Order, expect: str, actor: str) -> Order:
    """Take an order one status back; a canceled one to where it was canceled. Raises NotPossibleError.

    Undoing a cancellation takes stock, slot and code again, and is refused where they are gone meanwhile, or where the
    money is on its way back.
    """
    target = canceled_from(order) if expect == Status.CANCELED else BEFORE.get(expect)
    if target is None or target == Status.UNPAID:
        raise NotPossibleError(_("An order that is %(status)s has no step to undo.") % {"status": label(expect)})
    before = order.status_since
    if not move(order, expect, target, OrderEvent.Kind.UNDONE, actor):
        if order.status != target:
            raise moved_meanwhile(order)
        return order
    if expect == Status.CANCELED:
        _take_again(order)
    elif expect == Status.READY:
        # What was made with the step that is undone; what was made before it stays made.
        lines = list(order.lines.filter(made_at=before))
        for line in lines:
            by_stations = set(line.made) >= set(stations_of(line))
            line.made, line.made_at = line.made[:-1] if by_stations else line.made, None
        OrderLine.objects.bulk_update(lines, ["made", "made_at"])
    return order


@transaction.atomic
def cancel(*, order: Order, expect: str, actor: str, reason: str) -> Order:
    """Cancel an order that has not been collected; the customer reads the reason. Stock, slot, code and money return.

    Raises NotPossibleError.
    """
    if expect not in CANCELABLE:
        raise NotPossibleError(_("An order that is %(status)s cannot be canceled.") % {"status": label(expect)})
    if not reason:
        raise NotPossibleError(_("Say why the order is canceled: the customer reads it."))
    if not move(order, expect, Status.CANCELED, OrderEvent.Kind.CANCELED, actor, reason):
        if order.status != Status.CANCELED:
            raise moved_meanwhile(order)
        return order
    _give_back(order)
    settling.owe_refund(order, now=timezone.now())
    outbox.owe(order, OutboxMail.Kind.CANCELED)
    return order


def settled(*, order: Order, paid: bool, reason: str) -> None:
    """A payment has its answer: the order is received, or canceled. In the transaction that writes the answer."""
    if not paid:
        if move(order, Status.UNPAID, Status.CANCELED, OrderEvent.Kind.CANCELED, "payment", reason):
            _give_back(order)
        return
    if move(order, Status.UNPAID, Status.RECEIVED, OrderEvent.Kind.PAID, "payment"):
        outbox.owe(order, OutboxMail.Kind.RECEIPT)
    else:
        settling.owe_refund(order, now=timezone.now())


def _give_back(order: Order) -> None:
    stock.give_back(order)
    if order.pickup_at:
        pickup.give_back(order.pickup_at)
    promos.give_back(order)


def _take_again(order: Order) -> None:
    """Raises NotPossibleError, with which the transaction leaves the order canceled."""
    if not settling.withdraw_refund(order):
        raise _stays_canceled(order, _("Its money is on its way back to the customer."))
    try:
        stock.take_again(order)
    except CannotPlaceError as error:
        problems = _("Its food has been sold meanwhile. %(problems)s") % {"problems": error}
        raise _stays_canceled(order, problems) from error
    if order.pickup_at and not pickup.take(order.pickup_at, pickup.state()):
        raise _stays_canceled(order, _("Its time to collect has been taken meanwhile."))
    if not promos.take_again(order):
        raise _stays_canceled(order, _("Its promo code has been used meanwhile."))
    outbox.withdraw(order, OutboxMail.Kind.CANCELED)


def _stays_canceled(order: Order, why: str) -> NotPossibleError:
    return NotPossibleError(_("Order %(number)d stays canceled. %(why)s") % {"number": order.number, "why": why})


def moved_meanwhile(order: Order) -> NotPossibleError:
    return NotPossibleError(
        _("Order %(number)d is %(status)s by now: somebody else moved it. Look at the board again.")
        % {"number": order.number, "status": label(order.status)}
    )


def label(status: str) -> str:
    return str(Status(status).label).lower() if status in Status.values else repr(status)
