"""What the shop sells. Staff change these rows in the admin; `ordering.orders` counts stock down and up; pages read
through `ordering.selectors`.

Money is in minor units of the shop's currency. A `stock` counts what is left; None means that it is made without
counting. Names stand in the shop's own language; `translations` holds them in the others.
"""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from ordering import food

_PRICES = [MaxValueValidator(1_000_000)]


class Station(models.TextChoices):
    """Where in the kitchen something is made."""

    GRILL = "grill", _("Grill")
    FRYER = "fryer", _("Fryer")
    COLD = "cold", _("Cold kitchen")
    DRINKS = "drinks", _("Drinks")


class Translated(models.Model):
    """A row whose texts exist in several languages: {"de": {"name": "...", "description": "..."}}."""

    translations = models.JSONField(
        _("translations"),
        default=dict,
        db_default=models.Value({}, output_field=models.JSONField()),
        blank=True,
        validators=[food.validate_translations],
    )

    class Meta:
        abstract = True

    def text(self, field: str) -> str:
        """The text in the active language, or the shop's own where it has not been translated."""
        texts = self.translations.get((get_language() or "").partition("-")[0], {})
        return texts.get(field) or getattr(self, field)

    @property
    def title(self) -> str:
        return self.text("name")


class Category(Translated):
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


class OptionGroup(Translated):
    """Something to choose about items: "Extras", up to five of them; "Sauce", exactly one.

    `minimum` and `maximum` count different options of one portion; a minimum of 1 makes the group required.
    """

    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    name = models.CharField(_("name"), max_length=80)
    minimum = models.PositiveSmallIntegerField(_("at least"), default=0)
    maximum = models.PositiveSmallIntegerField(_("at most"), default=1, validators=[MinValueValidator(1)])
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("option group")
        verbose_name_plural = _("option groups")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(minimum__lte=models.F("maximum")), name="ordering_optiongroup_minimum_fits"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Option(Translated):
    """One choice of a group. `price` comes on top of the item's; a preselected one is taken by a single tap."""

    group = models.ForeignKey(OptionGroup, on_delete=models.CASCADE, related_name="options", verbose_name=_("group"))
    slug = models.SlugField(_("slug"), max_length=50)
    name = models.CharField(_("name"), max_length=80)
    price = models.PositiveIntegerField(_("extra price"), default=0, validators=_PRICES)
    allergens = models.JSONField(_("allergens"), default=list, blank=True, validators=[food.validate_allergens])
    stock = models.PositiveIntegerField(_("stock"), null=True, blank=True)
    available = models.BooleanField(_("available"), default=True)
    preselected = models.BooleanField(_("preselected"), default=False)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("option")
        verbose_name_plural = _("options")
        constraints = [models.UniqueConstraint(fields=["group", "slug"], name="ordering_option_slug_in_group")]

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


class MenuItem(Translated):
    """Something to eat or drink. One that has parts is a combo: its parts are other items, some to choose from."""

    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="items", verbose_name=_("category"))
    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    name = models.CharField(_("name"), max_length=80)
    description = models.CharField(_("description"), max_length=240, blank=True, default="", db_default="")
    price = models.PositiveIntegerField(_("price"), validators=[MinValueValidator(1), *_PRICES])
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
    option_groups = models.ManyToManyField(
        OptionGroup, blank=True, related_name="items", verbose_name=_("option groups")
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

    @property
    def about(self) -> str:
        return self.text("description")


class ComboPart(Translated):
    """One place of a combo, "Side" or "Drink", which exactly one of its choices fills."""

    combo = models.ForeignKey(MenuItem, on_delete=models.CASCADE, related_name="parts", verbose_name=_("combo"))
    slug = models.SlugField(_("slug"), max_length=50)
    name = models.CharField(_("name"), max_length=80)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("part of a combo")
        verbose_name_plural = _("parts of combos")
        constraints = [models.UniqueConstraint(fields=["combo", "slug"], name="ordering_combopart_slug_in_combo")]

    def __str__(self) -> str:
        return f"{self.combo}: {self.name}"


class ComboChoice(models.Model):
    """An item that may fill a part; `price` comes on top of the combo's. The item's own stock is what counts."""

    part = models.ForeignKey(ComboPart, on_delete=models.CASCADE, related_name="choices", verbose_name=_("part"))
    item = models.ForeignKey(MenuItem, on_delete=models.CASCADE, related_name="+", verbose_name=_("menu item"))
    price = models.PositiveIntegerField(_("extra price"), default=0, validators=_PRICES)
    preselected = models.BooleanField(_("preselected"), default=False)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        ordering = ["position", "pk"]
        verbose_name = _("choice for a part")
        verbose_name_plural = _("choices for parts")
        constraints = [models.UniqueConstraint(fields=["part", "item"], name="ordering_combochoice_once")]

    def __str__(self) -> str:
        return f"{self.part}: {self.item}"
