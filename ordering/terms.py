"""On what terms something is ordered: when it is collected, what it costs with code and tip, how it is paid. A `Wish`
says what; this says how."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from ordering import conf, money, payments, promos
from ordering.bill import Bill, make_bill
from ordering.models import Order, PaymentMethod, PromoCode
from ordering.pickup import Hours, problems_of_pickup
from ordering.wishes import Problem, Wish, price_changed

MAX_EMAIL = Order._meta.get_field("email").max_length or 0
# A tip above this is a slip of the finger.
MAX_TIP = 100_000
UNSEEN = -1


@dataclass(frozen=True, slots=True)
class Terms:
    """`pickup` None: as soon as possible. `tip` is in minor units. `source` is what is paid with, where `payment` is
    online. `customer_id` is the account of whoever is signed in, `language` theirs. `expected_charge` is what all of it
    cost when the customer last saw it, discount and tip included; UNSEEN where they saw nothing that can be read, None
    for whoever needs no asking."""

    email: str = ""
    pickup: dt.datetime | None = None
    promo: str = ""
    tip: int = 0
    payment: str = PaymentMethod.COUNTER
    source: str = ""
    customer_id: int | None = None
    language: str = ""
    expected_charge: int | None = None

    @property
    def user(self) -> promos.User:
        return promos.User(self.customer_id, self.email)

    @property
    def online(self) -> bool:
        return self.payment == PaymentMethod.ONLINE


def moment_of(text: str) -> dt.datetime | None:
    """A time with its zone, in UTC; None for what is none, or lies beyond the years that there are."""
    try:
        moment = parse_datetime(text)
        return moment.astimezone(dt.UTC) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def fingerprint(wish: Wish, terms: Terms) -> str:
    """SHA-256 of what is asked for, and how. Plain terms leave the wish's own, which releases wrote that knew no
    others."""
    pickup = terms.pickup.astimezone(dt.UTC).isoformat() if terms.pickup else ""
    asked = [terms.email, pickup, terms.promo, terms.tip, terms.payment if terms.online else "", terms.source]
    if not any(asked):
        return wish.fingerprint
    return hashlib.sha256(json.dumps([wish.fingerprint, *asked]).encode()).hexdigest()


def bill_of(lines: list[tuple[int, int]], promo: PromoCode | None, tip: int) -> Bill:
    """The bill of lines given as (total, tax rate)."""
    goods = sum(total for total, _rate in lines)
    return make_bill(lines, discount=promos.discount_of(promo, goods) if promo else 0, tip=tip)


def problems_of_terms(terms: Terms, *, promo: PromoCode | None, goods: int, shop: Hours) -> list[Problem]:
    """Everything about the terms that keeps an order from being placed now; empty when nothing does."""
    return [
        *problems_of_pickup(terms.pickup, shop),
        *_problems_of_email(terms.email),
        *_problems_of_promo(terms, promo, goods, shop.now),
        *_problems_of_tip(terms.tip),
        *_problems_of_payment(terms),
    ]


def problems_of_charge(terms: Terms, bill: Bill) -> Iterator[Problem]:
    """Nothing is charged that was not shown first: a code, a tax, a price or the tip may have moved the total."""
    if terms.expected_charge == UNSEEN:
        now = money.display(bill.total, conf.currency())
        yield Problem("price_changed", _("The total is %(now)s. Look at it and place the order again.") % {"now": now})
    elif terms.expected_charge is not None and terms.expected_charge != bill.total:
        yield price_changed(now=bill.total, before=terms.expected_charge)


def _problems_of_email(email: str) -> Iterator[Problem]:
    if not email:
        return
    try:
        validate_email(email)
    except ValidationError:
        yield Problem("email", _("“%(email)s” is no e-mail address. Check it.") % {"email": email[:80]})
        return
    if len(email) > MAX_EMAIL:
        yield Problem("email", _("The e-mail address has more than %(limit)d characters.") % {"limit": MAX_EMAIL})


def _problems_of_promo(terms: Terms, promo: PromoCode | None, goods: int, now: dt.datetime) -> Iterator[Problem]:
    if terms.promo and (problem := promos.problem_of(promo, code=terms.promo, goods=goods, now=now, user=terms.user)):
        yield problem


def _problems_of_tip(tip: int) -> Iterator[Problem]:
    if not 0 <= tip <= MAX_TIP:
        yield Problem("tip", _("The tip cannot be read, or is more than anybody means to give. Choose another."))


def _problems_of_payment(terms: Terms) -> Iterator[Problem]:
    if terms.payment not in PaymentMethod.values:
        yield Problem("payment", _("Choose how to pay."))
    elif terms.online:
        known = {source.token for source in payments.sources()}
        if not known:
            yield Problem("payment", _("Nothing can be paid online here. Pay at the counter."))
        elif terms.source not in known:
            yield Problem("payment", _("Choose what to pay with."))
