"""Promo codes."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _


class PromoCode(models.Model):
    """A code that makes an order cheaper. `uses` is counted up where it is placed and down where it is canceled, and
    never passes `max_uses`."""

    class Kind(models.TextChoices):
        PERCENT = "percent", _("Percent")
        AMOUNT = "amount", _("Amount in minor units")

    code = models.CharField(
        _("code"), max_length=30, unique=True, validators=[RegexValidator("^[A-Z0-9-]+$", _("Only A-Z, 0-9 and -."))]
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    value = models.PositiveIntegerField(_("value"), validators=[MinValueValidator(1), MaxValueValidator(1_000_000)])
    active = models.BooleanField(_("active"), default=True, db_default=True)
    starts_at = models.DateTimeField(_("from"), null=True, blank=True)
    ends_at = models.DateTimeField(_("until"), null=True, blank=True)
    minimum = models.PositiveIntegerField(_("minimum order in minor units"), default=0, db_default=0)
    max_uses = models.PositiveIntegerField(_("how often in all"), null=True, blank=True, help_text=_("1: single-use."))
    max_per_customer = models.PositiveSmallIntegerField(
        _("how often for one customer"), null=True, blank=True, help_text=_("By account, or by e-mail address.")
    )
    uses = models.PositiveIntegerField(_("used"), default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["code"]
        verbose_name = _("promo code")
        verbose_name_plural = _("promo codes")

    def __str__(self) -> str:
        return self.code

    def clean(self) -> None:
        if self.kind == self.Kind.PERCENT and self.value > 100:
            raise ValidationError({"value": _("More than 100 percent cannot be taken off.")})
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": _("This is before the code begins.")})
