"""Promo codes: what one takes off, and who may use it how often. A code is used up under the lock of its own row."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from ordering import bill, conf, money
from ordering.models import Order, PromoCode, Status
from ordering.wishes import Problem

MAX_CODE = PromoCode._meta.get_field("code").max_length or 0


@dataclass(frozen=True, slots=True)
class User:
    """Who wants to use a code: an account, or an e-mail address, or nobody that could be told from others."""

    customer_id: int | None = None
    email: str = ""

    @property
    def known(self) -> bool:
        return bool(self.customer_id or self.email)


def clean(code: str) -> str:
    """A code as it is stored, however it was typed; "" for what can be none."""
    code = "".join(code.split()).upper()
    return code if re.fullmatch(f"[A-Z0-9-]{{1,{MAX_CODE}}}", code) else code[:MAX_CODE]


def find(code: str) -> PromoCode | None:
    return PromoCode.objects.filter(code=code).first() if re.fullmatch("[A-Z0-9-]+", code) else None


def discount_of(promo: PromoCode, goods: int) -> int:
    """How much a code takes off goods that cost so much, in minor units."""
    if promo.kind == PromoCode.Kind.PERCENT:
        return min(goods, bill.percentage(goods, promo.value))
    return min(goods, promo.value)


def problem_of(promo: PromoCode | None, *, code: str, goods: int, now: dt.datetime, user: User) -> Problem | None:
    """Why this code cannot be used now by this customer for goods of that price; None where it can."""
    if promo is None or not promo.active or (promo.starts_at and now < promo.starts_at):
        return Problem("promo_unknown", _("The code “%(code)s” does not exist. Check it.") % {"code": code})
    if promo.ends_at and now >= promo.ends_at:
        return Problem("promo_over", _("The code “%(code)s” has run out. Take it out.") % {"code": code})
    if goods < promo.minimum:
        least = money.display(promo.minimum, conf.currency())
        message = _("The code “%(code)s” is for orders of at least %(least)s.")
        return Problem("promo_minimum", message % {"code": code, "least": least})
    if promo.max_uses is not None and promo.uses >= promo.max_uses:
        return used_up(code)
    if promo.max_per_customer is None:
        return None
    if not user.known:
        message = _("The code “%(code)s” needs your e-mail address, because everybody can use it only so often.")
        return Problem("promo_email", message % {"code": code})
    if _used_by(promo, user).count() >= promo.max_per_customer:
        return _used(code)
    return None


def _used(code: str) -> Problem:
    return Problem("promo_used", _("You have used the code “%(code)s” already. Take it out.") % {"code": code})


def used_up(code: str) -> Problem:
    return Problem("promo_used_up", _("The code “%(code)s” has been used up. Take it out.") % {"code": code})


def take(promo: PromoCode, user: User) -> Problem | None:
    """Use a code once, in the caller's transaction. None where that was possible, else why it was not.

    Counting it up locks its row: orders that come with the same code wait here, and the customer's own uses are only
    counted then.
    """
    if not _counted_up(promo.pk):
        return used_up(promo.code)
    if promo.max_per_customer is not None and _used_by(promo, user).count() >= promo.max_per_customer:
        return _used(promo.code)
    return None


def give_back(order: Order) -> None:
    """An order that is canceled has not used its code."""
    if order.promo_id:
        PromoCode.objects.filter(pk=order.promo_id, uses__gt=0).update(uses=F("uses") - 1)


def take_again(order: Order) -> bool:
    """A cancellation is undone: whether the code that the order was placed with could be used once more, by this
    customer too. In the caller's transaction, which has taken the order up again."""
    if not order.promo_id:
        return True
    if not _counted_up(order.promo_id):
        return False
    promo = PromoCode.objects.get(pk=order.promo_id)
    others = _used_by(promo, User(order.customer_id, order.email)).exclude(pk=order.pk)
    return promo.max_per_customer is None or others.count() < promo.max_per_customer


def _counted_up(promo: int) -> bool:
    """Use a code once, where it is not used up; locks its row."""
    free = Q(max_uses=None) | Q(uses__lt=F("max_uses"))
    return bool(PromoCode.objects.filter(free, pk=promo).update(uses=F("uses") + 1))


def _used_by(promo: PromoCode, user: User) -> QuerySet[Order]:
    """The orders of this customer that count as uses."""
    same = Q(pk__in=[])
    if user.customer_id:
        same |= Q(customer=user.customer_id)
    if user.email:
        same |= Q(email__iexact=user.email)
    return Order.objects.filter(same, promo=promo).exclude(status=Status.CANCELED)
