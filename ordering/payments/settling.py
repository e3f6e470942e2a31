"""Asking the provider, and writing down what it said. No question is asked inside of a transaction, and every answer
is written in one that also changes the order."""

from __future__ import annotations

import datetime as dt
import logging

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ordering import conf
from ordering.models import Order, Payment, PaymentMethod
from ordering.payments.providers import Answer, ProviderTimeoutError, provider_named

logger = logging.getLogger(__name__)

CHARGE, REFUND = Payment.Kind.CHARGE, Payment.Kind.REFUND
PENDING, DONE, DECLINED, WITHDRAWN = (
    Payment.State.PENDING,
    Payment.State.DONE,
    Payment.State.DECLINED,
    Payment.State.WITHDRAWN,
)
# An answer that does not come is asked for again after this, at first; then less often.
_LONGEST_WAIT = 300.0


def owe_charge(order: Order, *, source: str, now: dt.datetime) -> Payment:
    """Note that an order is to be paid, in the transaction that places it. Whoever places it asks first."""
    return Payment.objects.create(
        order=order,
        kind=CHARGE,
        provider=conf.payment_provider(),
        source=source,
        amount=order.total,
        currency=order.currency,
        attempts=1,
        created_at=now,
        due_at=now + dt.timedelta(seconds=conf.payment_patience()),
    )


def owe_refund(order: Order, *, now: dt.datetime) -> None:
    """Note that what was paid goes back, in the transaction that cancels the order; nothing where nothing was paid
    online."""
    if order.payment_method != PaymentMethod.ONLINE:
        return
    charge = order.payments.filter(kind=CHARGE, state=DONE).first()
    if charge is None:
        return
    Payment.objects.create(
        order=order,
        kind=REFUND,
        provider=charge.provider,
        source=charge.key,
        amount=charge.amount,
        currency=charge.currency,
        created_at=now,
        due_at=now + dt.timedelta(seconds=conf.refund_delay()),
    )


def withdraw_refund(order: Order) -> bool:
    """A cancellation is undone: whether no refund has begun, so that the order is still paid. In the caller's
    transaction."""
    if order.payment_method != PaymentMethod.ONLINE:
        return True
    if not order.payments.filter(kind=CHARGE, state=DONE).exists():
        return True
    refunds = order.payments.filter(kind=REFUND).exclude(state=WITHDRAWN)
    waiting = refunds.filter(state=PENDING, attempts=0).update(state=WITHDRAWN, settled_at=timezone.now())
    return not refunds.exists() and bool(waiting)


def charge_now(payment: Payment) -> Payment:
    """Ask for a charge that this caller has claimed, and settle it. It stays pending where no answer comes."""
    try:
        answer = provider_named(payment.provider).charge(
            key=payment.key, amount=payment.amount, currency=payment.currency, source=payment.source
        )
    except ProviderTimeoutError as error:
        logger.warning("The payment of order %s has no answer yet: %s", payment.order, error)
        # Found out at once, where it was done and only its answer was lost.
        Payment.objects.filter(pk=payment.pk, state=PENDING).update(due_at=timezone.now())
        payment.refresh_from_db()
        return payment
    return settle(payment, answer)


def press(payment: Payment) -> None:
    """Ask about a payment for somebody who asks for the same order again; nothing while somebody else does."""
    now = timezone.now()
    if payment.state == PENDING and payment.due_at <= now:
        _reconcile(payment, now)


def settle(payment: Payment, answer: Answer) -> Payment:
    """Write an answer down, once: whoever comes second finds it settled."""
    from ordering.orders import settled  # it decides what a payment means for the order

    with transaction.atomic():
        state = DONE if answer.done else DECLINED
        mine = Payment.objects.filter(pk=payment.pk, state=PENDING).update(
            state=state,
            reference=answer.reference[:100],
            reason=answer.reason[:200],
            settled_at=timezone.now(),
        )
        payment.refresh_from_db()
        if mine and payment.kind == CHARGE:
            settled(order=payment.order, paid=answer.done, reason=payment.reason)
    return payment


def reconcile(*, now: dt.datetime | None = None, limit: int = 50) -> int:
    """Ask about every payment and refund that is due, and settle what has an answer. Returns how many were settled."""
    now = now or timezone.now()
    due = Payment.objects.filter(state=PENDING, due_at__lte=now).order_by("due_at").select_related("order")
    return sum(_reconcile(payment, now) for payment in due[:limit])


def _reconcile(payment: Payment, now: dt.datetime) -> bool:
    if not _claim(payment, now):
        return False
    try:
        answer = _find_out(payment, now)
    except ProviderTimeoutError as error:
        wait = min(_LONGEST_WAIT, 2.0 ** min(payment.attempts, 10))
        Payment.objects.filter(pk=payment.pk, state=PENDING).update(due_at=now + dt.timedelta(seconds=wait))
        logger.info("%s of order %s has no answer yet: %s", payment.kind, payment.order, error)
        return False
    settled = settle(payment, answer)
    if settled.kind == REFUND and settled.state == DECLINED:
        logger.error("The refund of order %s was declined: %s Give it back by hand.", payment.order, settled.reason)
    return True


def _claim(payment: Payment, now: dt.datetime) -> bool:
    """Whether this caller may ask: of those that saw it due, the first."""
    until = now + dt.timedelta(seconds=conf.payment_patience())
    mine = Payment.objects.filter(pk=payment.pk, state=PENDING, due_at=payment.due_at)
    claimed = bool(mine.update(due_at=until, attempts=F("attempts") + 1))
    payment.refresh_from_db(fields=["attempts", "due_at", "state"])
    return claimed


def _find_out(payment: Payment, now: dt.datetime) -> Answer:
    """What became of a payment; asked for again where the provider has not heard of it, given up where it is too
    old."""
    provider = provider_named(payment.provider)
    if known := provider.look_up(key=payment.key):
        return known
    if payment.kind == REFUND:
        return provider.refund(key=payment.key, charge=payment.source, amount=payment.amount, currency=payment.currency)
    if now < payment.created_at + dt.timedelta(seconds=conf.payment_deadline()):
        return provider.charge(key=payment.key, amount=payment.amount, currency=payment.currency, source=payment.source)
    # Only what the provider promises never to take may be forgotten.
    answer = provider.void(key=payment.key)
    return answer if answer.done else Answer(done=False, reason=_("The payment did not come through in time."))
