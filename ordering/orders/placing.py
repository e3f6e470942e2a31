"""Placing an order, once."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import get_language

from ordering import conf, outbox, pickup, pricing, promos, selectors
from ordering.bill import Bill
from ordering.drawn import Drawn
from ordering.models import DayCounter, Order, OrderEvent, OrderLine, OutboxMail, Payment, PromoCode, Status
from ordering.orders import stock
from ordering.orders.errors import CannotPlaceError, KeyReusedError, NotPaidError
from ordering.orders.history import remember
from ordering.payments import settling
from ordering.pricing import Dish, Line
from ordering.terms import Terms, bill_of, fingerprint, problems_of_charge, problems_of_terms
from ordering.wishes import Problem, Wish, completed, dishes_of, problems_of

PLAIN = Terms()
_menus: Drawn[dict[str, Dish]] = Drawn(most=8)
_hours: Drawn[pickup.Hours] = Drawn(most=1)
_turns = threading.Lock()
# Seconds that a thread queues before it leaves it to the database.
_COURTESY = 10.0


@dataclass(frozen=True, slots=True)
class _Sale:
    """Everything that is known about an order before anything is written."""

    lines: tuple[Line, ...]
    dishes: Mapping[str, Dish]
    promo: PromoCode | None
    bill: Bill
    shop: pickup.Hours


def placed_with(*, key: str) -> Order | None:
    """The order that this idempotency key placed, if it did."""
    return Order.objects.filter(idempotency_key=key).first()


def place(*, key: str, wish: Wish, terms: Terms = PLAIN, actor: str = "customer") -> tuple[Order, bool]:
    """Place an order once: the same key again gives the same order, however often and however parallel.

    Returns the order and whether this call placed it. It is unpaid while its payment has no answer. Stock, slot and
    code are taken in the same transaction, and none of them twice. Raises CannotPlaceError; KeyReusedError when the
    key placed an order for something else; NotPaidError when its payment was declined.
    """
    now = timezone.now()
    sale, problems = _looked_up(wish, terms, now)
    if problems:
        # Asked only now: what is gone may have gone with this very order, and then both are seen.
        existing = placed_with(key=key)
        if existing is None:
            raise CannotPlaceError(problems)
        return _repeated(existing, wish, terms), False
    try:
        with _one_at_a_time(), transaction.atomic():
            order, created = _place_in_turn(sale, key, wish, terms, actor)
    except IntegrityError:
        # Two posts with one key take turns at the day's counter; only around midnight they can meet here.
        existing = placed_with(key=key)
        if existing is None:
            # A dish left the menu between the last look at it and the commit.
            if gone := _judged(wish, terms, dishes_of(wish), pickup.hours(now))[1]:
                raise CannotPlaceError(gone) from None
            raise
        order, created = existing, False
    if not created:
        return _repeated(order, wish, terms), False
    if order.status == Status.UNPAID:
        _paid(order, first=True)
    return order, True


def _repeated(order: Order, wish: Wish, terms: Terms) -> Order:
    """The order that the same key placed before, and what has become of its payment."""
    if order.fingerprint != fingerprint(wish, terms):
        raise KeyReusedError(order)
    if order.status in (Status.UNPAID, Status.CANCELED) and terms.online:
        _paid(order, first=False)
    return order


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """The threads of this process queue here, which is fair and costs nothing; SQLite lets those who wait for its lock
    sleep longer and longer. It is only courtesy: what counts is the lock that the transaction takes."""
    mine = _turns.acquire(timeout=_COURTESY)
    try:
        yield
    finally:
        if mine:
            _turns.release()


def _paid(order: Order, *, first: bool) -> None:
    """Ask for the payment, the first time; later, only what became of it. Raises NotPaidError."""
    charge = order.payments.filter(kind=Payment.Kind.CHARGE).first()
    if charge is None:
        return
    if first:
        settling.charge_now(charge)
    else:
        settling.press(charge)
    charge.refresh_from_db()
    order.refresh_from_db()
    if charge.state == Payment.State.DECLINED:
        raise NotPaidError(order, charge.reason)


def _place_in_turn(sale: _Sale, key: str, wish: Wish, terms: Terms, actor: str) -> tuple[Order, bool]:
    now = sale.shop.now
    counter = _wait_for_turn(now.astimezone(conf.time_zone()).date())
    # Only now: whoever had the turn before may have placed this very order.
    if existing := placed_with(key=key):
        return existing, False
    sale = _as_it_stands(sale, wish, terms)
    _take(sale, terms)
    counter.last += 1
    counter.save(update_fields=["last"])
    order = _written(sale, key, wish, terms, counter)
    remember(order, OrderEvent.Kind.PLACED, "", order.status, now, actor)
    if order.status == Status.UNPAID:
        settling.owe_charge(order, source=terms.source, now=now)
    else:
        outbox.owe(order, OutboxMail.Kind.RECEIPT)
    return order, True


def _wait_for_turn(day: dt.date) -> DayCounter:
    """The day's counter, locked until the transaction ends (SQLite has locked the whole database by then)."""
    counters = DayCounter.objects.select_for_update()
    return counters.filter(day=day).first() or counters.get_or_create(day=day)[0]


def _looked_up(wish: Wish, terms: Terms, now: dt.datetime) -> tuple[_Sale, list[Problem]]:
    """What is to be sold, and everything that stands in the way.

    Menu and hours may be a moment old, which spares most orders most of the reading: what it is about is looked at once
    more when its turn comes. Nobody is refused for what is not so any more: then everything is read anew.
    """
    dishes, shop = _lately(wish, now)
    sale, problems = _judged(wish, terms, dishes, shop)
    if problems and conf.menu_max_age():
        sale, problems = _judged(wish, terms, dishes_of(wish), pickup.known(now))
    return sale, problems


def _as_it_stands(sale: _Sale, wish: Wish, terms: Terms) -> _Sale:
    """The sale by what the database holds in this transaction: what is not sold any more, is counted by now, has left
    the menu or has to be chosen, a pause and the opening hours, are judged by that and by no copy. Raises
    CannotPlaceError."""
    if stock.as_read(sale.dishes, sale.lines, sale.shop):
        return sale
    sale, problems = _judged(wish, terms, dishes_of(wish), pickup.hours(sale.shop.now))
    if problems:
        raise CannotPlaceError(problems)
    return sale


def _lately(wish: Wish, now: dt.datetime) -> tuple[Mapping[str, Dish], pickup.Hours]:
    """The menu and the hours, at most as old as the menu that customers see."""
    age = conf.menu_max_age()
    if not age:
        return dishes_of(wish), pickup.known(now)
    dishes = _menus.get(get_language(), selectors.dishes, max_age=age)
    shop = _hours.get("hours", lambda: pickup.known(now), max_age=age)
    return dishes, replace(shop, now=now)


def _judged(wish: Wish, terms: Terms, dishes: Mapping[str, Dish], shop: pickup.Hours) -> tuple[_Sale, list[Problem]]:
    lines = completed(wish.lines, dishes)
    promo = promos.find(terms.promo) if terms.promo else None
    known = [line for line in lines if line.slug in dishes]
    bill = bill_of([amounts(line, dishes[line.slug]) for line in known], promo, terms.tip)
    problems = problems_of(replace(wish, lines=lines), dishes)
    problems += problems_of_terms(terms, promo=promo, goods=bill.goods, shop=shop)
    # Whatever else is wrong is mended first, and then the total is shown anew by itself.
    problems = problems or list(problems_of_charge(terms, bill))
    return _Sale(lines, dishes, promo, bill, shop), problems


def amounts(line: Line, dish: Dish) -> tuple[int, int]:
    """What a line costs, and the rate of the tax in that."""
    rate = conf.tax_rate() if dish.tax_rate is None else dish.tax_rate
    return pricing.unit_price(dish, line) * line.quantity, rate


def _take(sale: _Sale, terms: Terms) -> None:
    """Stock, slot and code, each by one statement that cannot take too much. Raises CannotPlaceError, with which the
    transaction takes back what was taken."""
    stock.take(pricing.takes_of(sale.dishes, sale.lines))
    if terms.pickup and not pickup.take(terms.pickup, sale.shop.state):
        raise CannotPlaceError([pickup.full(terms.pickup)])
    if sale.promo and (problem := promos.take(sale.promo, terms.user)):
        raise CannotPlaceError([problem])


def _written(sale: _Sale, key: str, wish: Wish, terms: Terms, counter: DayCounter) -> Order:
    # What costs nothing is paid.
    unpaid = terms.online and sale.bill.total > 0
    order = Order.objects.create(
        day=counter.day,
        number=counter.last,
        idempotency_key=key,
        fingerprint=fingerprint(wish, terms),
        status=Status.UNPAID if unpaid else Status.RECEIVED,
        status_since=sale.shop.now,
        customer_id=terms.customer_id,
        name=wish.name,
        email=terms.email,
        language=terms.language,
        note=wish.note,
        currency=conf.currency(),
        total=sale.bill.total,
        discount=sale.bill.discount,
        tip=sale.bill.tip,
        tax=sale.bill.tax,
        promo=sale.promo,
        promo_code=sale.promo.code if sale.promo else "",
        payment_method=terms.payment,
        pickup_at=terms.pickup,
        placed_at=sale.shop.now,
    )
    OrderLine.objects.bulk_create(
        _sold(order, line, sale.dishes[line.slug], share)
        for line, share in zip(sale.lines, sale.bill.shares, strict=True)
    )
    return order


def _sold(order: Order, line: Line, dish: Dish, discount: int) -> OrderLine:
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
        tax_rate=amounts(line, dish)[1],
        discount=discount,
        station=dish.station,
    )
