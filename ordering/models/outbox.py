"""Mails that are owed: written with the change that owes them, sent after it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ordering.models.orders import Order


class OutboxMail(models.Model):
    """Whoever sends it has moved `due_at` on before, so that two servers do not send the same one."""

    class Kind(models.TextChoices):
        RECEIPT = "receipt", _("Receipt")
        CANCELED = "canceled", _("Canceled")

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="mails")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    due_at = models.DateTimeField(_("tried again at"))
    attempts = models.PositiveSmallIntegerField(_("tried"), default=0, db_default=0)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    failure = models.CharField(_("failure"), max_length=200, blank=True, default="", db_default="")

    class Meta:
        ordering = ["pk"]
        verbose_name = _("mail")
        verbose_name_plural = _("mails")
        indexes = [models.Index(fields=["due_at"], condition=Q(sent_at=None), name="ordering_mail_due")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.order}"
