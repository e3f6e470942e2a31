"""What the shop sells. Staff change these rows in the admin; `ordering.orders` counts stock down and up; pages read
through `ordering.selectors`.

Money is in minor units of the shop's currency.
"""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from ordering import food


class Station(models.TextChoices):
    """Where in the kitchen something is made."""

    GRILL = "grill", _("Grill")
    FRYER = "fryer", _("Fryer")
    COLD = "cold", _("Cold kitchen")
    DRINKS = "drinks", _("Drinks")


class Category(models.Model):
    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    name = models.CharField(_("name"), max_length=80)
    position = models.PositiveSmallIntegerField(_("position"), default=0, db_default=0)
    station = models.CharField(
        _("station"),
        max_length=20,
        choices=Station,
        default=Station.GRILL,
        db_default=Station.GRILL.value,
        help_text=_("Where in the kitchen its items are made."),
    )
    tax_rate = models.PositiveSmallIntegerField(
        _("tax rate in basis points"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(10_000)],
        help_text=_("1900 is 19 %. Prices include it. Empty: the shop's own rate."),
    )

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("category")
        verbose_name_plural = _("categories")

    def __str__(self) -> str:
        return self.name


class MenuItem(models.Model):
    """Something to eat or drink. `stock` counts what is left; None means that it is made without counting."""

    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="items", verbose_name=_("category"))
    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    name = models.CharField(_("name"), max_length=80)
    description = models.CharField(_("description"), max_length=240, blank=True, default="", db_default="")
    price = models.PositiveIntegerField(
        _("price in minor units"), validators=[MinValueValidator(1), MaxValueValidator(1_000_000)]
    )
    allergens = models.JSONField(_("allergens"), default=list, blank=True, validators=[food.validate_allergens])
    diets = models.JSONField(_("diets"), default=list, blank=True, validators=[food.validate_diets])
    stock = models.PositiveIntegerField(_("stock"), null=True, blank=True)
    available = models.BooleanField(_("available"), default=True, db_default=True)
    picture = models.CharField(
        _("picture"), max_length=80, blank=True, default="", db_default="", help_text=_("A static file.")
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0, db_default=0)
    station = models.CharField(
        _("station"),
        max_length=20,
        choices=Station,
        blank=True,
        default="",
        db_default="",
        help_text=_("Empty: its category's."),
    )
    tax_rate = models.PositiveSmallIntegerField(
        _("tax rate in basis points"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(10_000)],
        help_text=_("Empty: its category's."),
    )

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("menu item")
        verbose_name_plural = _("menu items")

    def __str__(self) -> str:
        return self.name

    @property
    def in_stock(self) -> bool:
        return self.available and self.stock != 0
