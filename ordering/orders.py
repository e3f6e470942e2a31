"""The one door for every change of an order: page, API and kitchen call these functions and nothing else
writes.

    received -> preparing -> ready -> collected
        any of the first three -> canceled
        each step can be undone once at a time, a cancellation too

Each function is one transaction and leaves one `OrderEvent`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ordering import conf, pricing
from ordering.models import DayCounter, MenuItem, Option, Order, OrderEvent, OrderLine, Status
from ordering.pricing import Counted, Dish, Line
from ordering.wishes import Problem, Wish, completed, dishes_of, not_enough, problems_of, total_of

# The rows whose stock is counted, by what `pricing.Counted` and `OrderLine.taken` call them.
COUNTED: dict[str, type[MenuItem] | type[Option]] = {"item": MenuItem, "option": Option}

NEXT: dict[str, Status] = {
    Status.RECEIVED: Status.PREPARING,
    Status.PREPARING: Status.READY,
    Status.READY: Status.COLLECTED,
}
BEFORE: dict[str, str] = {after: before for before, after in NEXT.items()}
CANCELABLE = tuple(NEXT)


class CannotPlaceError(Exception):
    """The order was not placed and nothing was written. `problems` says everything that stands in the way."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = problems


class KeyReusedError(Exception):
    """The idempotency key belongs to `order` already, which asked for something else."""

    def __init__(self, order: Order) -> None:
        super().__init__(
            _("This key already placed order %(number)d with other contents. Use a new key for a new order.")
            % {"number": order.number}
        )
        self.order = order


class NotPossibleError(Exception):
    """The order is not in a state in which this can be done. The message says which and what to do."""


def placed_with(*, key: str) -> Order | None:
    """The order that this idempotency key placed, if it did."""
    return Order.objects.filter(idempotency_key=key).first()


def place(*, key: str, wish: Wish, actor: str = "customer") -> tuple[Order, bool]:
    """Place an order once: the same key again gives the same order, however often and however parallel.

    Returns the order and whether this call placed it. Raises CannotPlaceError, and KeyReusedError when the
    key placed an order for something else. Stock is taken in the same transaction and never goes below zero.
    """
    try:
        with transaction.atomic():
            order, created = _place_in_turn(key, wish, actor)
    except IntegrityError:
        # Two posts with one key take turns at the day's counter; only around midnight they can meet here.
        existing = placed_with(key=key)
        if existing is None:
            raise
        order, created = existing, False
    if not created and order.fingerprint != wish.fingerprint:
        raise KeyReusedError(order)
    return order, created


def _place_in_turn(key: str, wish: Wish, actor: str) -> tuple[Order, bool]:
    now = timezone.now()
    counter = _wait_for_turn(now.astimezone(conf.time_zone()).date())
    # Only now: whoever had the turn before may have placed this very order, and sold its last burger for it.
    if existing := placed_with(key=key):
        return existing, False
    dishes = dishes_of(wish)
    lines = completed(wish.lines, dishes)
    if problems := problems_of(replace(wish, lines=lines), dishes):
        raise CannotPlaceError(problems)
    _take_stock(pricing.takes_of(dishes, lines))
    counter.last += 1
    counter.save(update_fields=["last"])
    order = Order.objects.create(
        day=counter.day,
        number=counter.last,
        idempotency_key=key,
        fingerprint=wish.fingerprint,
        status_since=now,
        name=wish.name,
        note=wish.note,
        currency=conf.currency(),
        total=total_of(lines, dishes),
        placed_at=now,
    )
    OrderLine.objects.bulk_create(_sold(order, line, dishes[line.slug]) for line in lines)
    _remember(order, OrderEvent.Kind.PLACED, "", Status.RECEIVED, now, actor)
    return order, True


def _wait_for_turn(day: dt.date) -> DayCounter:
    """The day's counter, locked until the transaction ends (SQLite has locked the whole database by then)."""
    counters = DayCounter.objects.select_for_update()
    return counters.filter(day=day).first() or counters.get_or_create(day=day)[0]


def _sold(order: Order, line: Line, dish: Dish) -> OrderLine:
    return OrderLine(
        order=order,
        item_id=dish.pk,
        slug=dish.slug,
        name=dish.own or dish.name,
        shown=dish.name,
        price=pricing.unit_price(dish, line),
        quantity=line.quantity,
        choices=pricing.as_sold(dish, line),
        taken=[[row.kind, row.pk, quantity] for row, quantity in pricing.takes(dish, line).items()],
        counted=dish.counted is not None,
    )


def _take_stock(wanted: Mapping[Counted, int]) -> None:
    """Count the stock down, or raise CannotPlaceError; the caller's transaction then takes back what was
    counted."""
    missing = []
    # Always in the same order, so that two orders for the same rows never wait for each other.
    for row, quantity in sorted(wanted.items(), key=lambda pair: (pair[0].kind, pair[0].pk)):
        rows = COUNTED[row.kind].objects.filter(pk=row.pk)
        if not rows.filter(stock__gte=quantity).update(stock=F("stock") - quantity):
            left = rows.values_list("stock", flat=True).first()
            missing.append(not_enough(row.name, "", left or 0))
    if missing:
        raise CannotPlaceError(missing)


def _give_back_stock(order: Order) -> None:
    for (kind, pk), quantity in sorted(_taken_by(order).items()):
        COUNTED[kind].objects.filter(pk=pk, stock__isnull=False).update(stock=F("stock") + quantity)


def _taken_by(order: Order) -> dict[tuple[str, int], int]:
    """The counted rows that an order's lines took. Lines of releases that knew no choices say only that their item was
    counted."""
    taken: dict[tuple[str, int], int] = {}
    for line in order.lines.all():
        old: list[Any] = [["item", line.item_id, line.quantity]] if line.counted and line.item_id else []
        for kind, pk, quantity in line.taken or old:
            taken[kind, pk] = taken.get((kind, pk), 0) + quantity
    return taken


@transaction.atomic
def advance(*, order: Order, expect: str, actor: str) -> Order:
    """Move an order on to the next status. `expect` is the status that the person saw.

    A second click does nothing, because the order has left `expect` by then. Raises NotPossibleError.
    """
    target = NEXT.get(expect)
    if target is None:
        raise NotPossibleError(_("An order that is %(status)s cannot be moved on.") % {"status": _label(expect)})
    if not _move(order, expect, target, OrderEvent.Kind.ADVANCED, actor) and order.status != target:
        raise _moved_meanwhile(order)
    return order


@transaction.atomic
def undo(*, order: Order, expect: str, actor: str) -> Order:
    """Take an order one status back; a canceled one to where it was canceled. Raises NotPossibleError.

    Undoing a cancellation takes the stock again, and is refused where it has been sold meanwhile.
    """
    target = _canceled_from(order) if expect == Status.CANCELED else BEFORE.get(expect)
    if target is None:
        raise NotPossibleError(_("An order that is %(status)s has no step to undo.") % {"status": _label(expect)})
    if not _move(order, expect, target, OrderEvent.Kind.UNDONE, actor):
        if order.status != target:
            raise _moved_meanwhile(order)
        return order
    if expect == Status.CANCELED:
        _take_stock_again(order)
    return order


@transaction.atomic
def cancel(*, order: Order, expect: str, actor: str, reason: str) -> Order:
    """Cancel an order that has not been collected; the customer reads the reason. Counted stock returns.

    Raises NotPossibleError.
    """
    if expect not in CANCELABLE:
        raise NotPossibleError(_("An order that is %(status)s cannot be canceled.") % {"status": _label(expect)})
    if not reason:
        raise NotPossibleError(_("Say why the order is canceled: the customer reads it."))
    if not _move(order, expect, Status.CANCELED, OrderEvent.Kind.CANCELED, actor, reason):
        if order.status != Status.CANCELED:
            raise _moved_meanwhile(order)
        return order
    _give_back_stock(order)
    return order


def _move(order: Order, before: str, after: str, kind: OrderEvent.Kind, actor: str, reason: str = "") -> bool:
    """Change the status if it still is `before`, and refresh `order` either way. Only one of two callers
    wins."""
    now = timezone.now()
    moved = Order.objects.filter(pk=order.pk, status=before).update(
        status=after, status_since=now, revision=F("revision") + 1
    )
    order.refresh_from_db()
    if moved:
        _remember(order, kind, before, after, now, actor, reason)
    return bool(moved)


def _remember(
    order: Order,
    kind: OrderEvent.Kind,
    before: str,
    after: str,
    at: dt.datetime,
    actor: str,
    reason: str = "",
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


def _canceled_from(order: Order) -> str | None:
    event = order.events.filter(kind=OrderEvent.Kind.CANCELED).last()
    return event.from_status if event else None


def _take_stock_again(order: Order) -> None:
    taken = _taken_by(order)
    rows = {
        (kind, row.pk): Counted(kind, row.pk, row.title, row.stock or 0)
        for kind, model in COUNTED.items()
        for row in model.objects.filter(pk__in=[pk for k, pk in taken if k == kind], stock__isnull=False)
    }
    try:
        _take_stock({row: taken[which] for which, row in rows.items()})
    except CannotPlaceError as error:
        raise NotPossibleError(
            _("Order %(number)d stays canceled, its food has been sold meanwhile. %(problems)s")
            % {"number": order.number, "problems": error}
        ) from error


def _moved_meanwhile(order: Order) -> NotPossibleError:
    return NotPossibleError(
        _("Order %(number)d is %(status)s by now: somebody else moved it. Look at the board again.")
        % {"number": order.number, "status": _label(order.status)}
    )


def _label(status: str) -> str:
    return str(Status(status).label).lower() if status in Status.values else repr(status)
