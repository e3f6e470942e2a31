"""Mails to customers. What is owed is a row, written in the transaction that owes it; `deliver` sends what is due.

A mail is sent at least once: a server that is killed between sending and noting it sends it again, under the same
Message-ID, by which mail programs know it for the same.
"""

from __future__ import annotations

import datetime as dt
import logging
from email.utils import parseaddr
from typing import Any

from django.core.mail import EmailMessage
from django.db.models import F
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from ordering import conf
from ordering.bill import taxes_of
from ordering.models import Order, OutboxMail

logger = logging.getLogger(__name__)

# How long one server has for sending a mail before another may try.
LEASE = dt.timedelta(seconds=60)
# What cannot be sent is given up after so many tries, some two days.
MAX_ATTEMPTS = 12


def owe(order: Order, kind: OutboxMail.Kind) -> None:
    """Note a mail, in the caller's transaction; nothing for a customer who gave no address."""
    if order.email:
        # A cancellation can be undone so long; then its mail has not gone out.
        wait = conf.refund_delay() if kind == OutboxMail.Kind.CANCELED else 0.0
        due_at = timezone.now() + dt.timedelta(seconds=wait)
        OutboxMail.objects.create(order=order, kind=kind, due_at=due_at)


def withdraw(order: Order, kind: OutboxMail.Kind) -> None:
    """A mail is not owed any more; nothing where it has begun to go out."""
    if order.email:
        OutboxMail.objects.filter(order=order, kind=kind, attempts=0).delete()


def deliver(*, now: dt.datetime | None = None, limit: int = 20) -> int:
    """Send what is due. Returns how many were sent."""
    now = now or timezone.now()
    due = OutboxMail.objects.filter(sent_at=None, due_at__lte=now, attempts__lt=MAX_ATTEMPTS).order_by("due_at")
    return sum(_deliver(mail, now) for mail in due.select_related("order")[:limit])


def _deliver(mail: OutboxMail, now: dt.datetime) -> bool:
    # Only one of the servers that saw it moves it on.
    mine = OutboxMail.objects.filter(pk=mail.pk, sent_at=None, due_at=mail.due_at)
    if not mine.update(due_at=now + LEASE, attempts=F("attempts") + 1):
        return False
    try:
        message_of(mail).send()
    except Exception as error:
        # Whatever a mail server or its library says: the mail stays owed, and other mails go on.
        logger.warning("A mail for order %s cannot be sent: %s", mail.order, error)
        wait = dt.timedelta(seconds=min(6 * 3600, 30 * 2**mail.attempts))
        OutboxMail.objects.filter(pk=mail.pk).update(due_at=now + wait, failure=str(error)[:200])
        return False
    OutboxMail.objects.filter(pk=mail.pk).update(sent_at=timezone.now(), failure="")
    return True


def message_of(mail: OutboxMail) -> EmailMessage:
    """The mail in the language in which the order was placed."""
    order = mail.order
    with translation.override(order.language or None):
        subject = {
            OutboxMail.Kind.RECEIPT: _("Your order %(number)d at %(shop)s"),
            OutboxMail.Kind.CANCELED: _("Your order %(number)d at %(shop)s was canceled"),
        }[OutboxMail.Kind(mail.kind)] % {"number": order.number, "shop": conf.shop_name()}
        body = render_to_string(f"ordering/mail/{mail.kind}.txt", receipt_context(order))
    sender = conf.sender()
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    headers = {"Message-ID": f"<{order.token}.{mail.kind}.{mail.pk}@{domain}>"}
    return EmailMessage(subject, body, sender, [order.email], headers=headers)


def receipt_context(order: Order) -> dict[str, Any]:
    """What a receipt shows, on the page and in the mail."""
    lines = list(order.lines.all())
    charge = order.payments.filter(kind="charge", state="done").first() if order.payment_method == "online" else None
    refund = order.payments.filter(kind="refund").exclude(state="withdrawn").first() if charge else None
    canceled = order.events.filter(to_status="canceled").last() if order.status == "canceled" else None
    return {
        "order": order,
        "lines": lines,
        "taxes": taxes_of([(line.total - line.discount, line.tax_rate) for line in lines]),
        "charge": charge,
        "refund": refund,
        "canceled": canceled,
        "shop_name": conf.shop_name(),
        "link": f"{conf.public_url()}{order.get_absolute_url()}" if conf.public_url() else "",
    }
