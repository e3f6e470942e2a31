"""Payments: what was asked of the provider under which key, and what came of it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ordering import money
from ordering.models.orders import Order


def new_key() -> str:
    return uuid.uuid4().hex


class Payment(models.Model):
    """One charge or one refund. It is written before the provider is asked, and asked for under the same `key`
    however often, so that the provider does it at most once.

    Whoever asks has moved `due_at` on before: until then nobody else asks.
    """

    class Kind(models.TextChoices):
        CHARGE = "charge", _("Charge")
        REFUND = "refund", _("Refund")

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DONE = "done", _("Done")
        DECLINED = "declined", _("Declined")
        # A refund whose order was taken up again before it began.
        WITHDRAWN = "withdrawn", _("Withdrawn")

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="payments", verbose_name=_("order"))
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    key = models.CharField(max_length=64, unique=True, default=new_key, editable=False)
    provider = models.CharField(_("provider"), max_length=40)
    source = models.CharField(max_length=100, blank=True, default="", db_default="", editable=False)
    amount = models.PositiveBigIntegerField(_("amount in minor units"))
    currency = models.CharField(_("currency"), max_length=3)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    reference = models.CharField(_("the provider's reference"), max_length=100, blank=True, default="", db_default="")
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="", db_default="")
    attempts = models.PositiveIntegerField(_("asked"), default=0, db_default=0)
    created_at = models.DateTimeField(_("since"))
    due_at = models.DateTimeField(_("asked again at"))
    settled_at = models.DateTimeField(_("settled at"), null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        constraints = [
            # No order is charged twice, nor refunded twice, whatever the code above this does.
            models.UniqueConstraint(
                fields=["order", "kind"], condition=~Q(state="withdrawn"), name="ordering_payment_once"
            )
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(state="pending"), name="ordering_payment_due")]

    def __str__(self) -> str:
        amount = money.display(self.amount, self.currency)
        return f"{self.get_kind_display()} {amount}: {self.get_state_display()}"


class SandboxEntry(models.Model):
    """The test provider's own book: what it has done under which key. Nothing but the test provider reads it."""

    key = models.CharField(primary_key=True, max_length=64)
    kind = models.CharField(max_length=10)
    state = models.CharField(max_length=10)
    amount = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    charge = models.CharField(max_length=64, blank=True, default="", db_default="")
    asked = models.PositiveIntegerField(default=1, db_default=1)

    def __str__(self) -> str:
        return f"{self.kind} {self.amount} {self.currency}: {self.state}"
