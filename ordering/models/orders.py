"""What was sold. Rows are changed through `ordering.orders` only; pages read through `ordering.selectors`.

What a customer bought is copied into the order's lines, so that a later change of the menu never changes what was
sold. Money is in minor units of the shop's currency.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from ordering.models.catalogue import MenuItem


class Status(models.TextChoices):
    # Placed, its food and slot are held, but its payment is not settled: no kitchen sees it yet.
    UNPAID = "unpaid", _("Waiting for the payment")
    RECEIVED = "received", _("Received")
    PREPARING = "preparing", _("Preparing")
    READY = "ready", _("Ready")
    COLLECTED = "collected", _("Collected")
    CANCELED = "canceled", _("Canceled")


class PaymentMethod(models.TextChoices):
    COUNTER = "counter", _("At the counter")
    ONLINE = "online", _("Online")


def new_token() -> str:
    """The name of an order in addresses: 128 random bits, so that nobody finds an order that is not
    theirs."""
    return secrets.token_urlsafe(16)


class Order(models.Model):
    """One purchase. `number` counts from 1 each `day` and is what is called out at the counter.

    `idempotency_key` was chosen by whoever ordered; `fingerprint` is the SHA-256 of what they asked for, so
    that the same key with another wish is noticed. `revision` grows by one with each change.
    """

    token = models.CharField(max_length=32, unique=True, default=new_token, editable=False)
    day = models.DateField(_("day"))
    number = models.PositiveIntegerField(_("number"))
    idempotency_key = models.CharField(max_length=64, unique=True, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.RECEIVED)
    status_since = models.DateTimeField(_("in this status since"))
    revision = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="shop_orders",
        db_index=False,
        verbose_name=_("customer"),
    )
    name = models.CharField(_("name"), max_length=60)
    email = models.EmailField(_("e-mail"), blank=True, default="", db_default="")
    language = models.CharField(max_length=10, blank=True, default="", db_default="", editable=False)
    note = models.CharField(_("note"), max_length=300, blank=True, default="", db_default="")
    currency = models.CharField(_("currency"), max_length=3)
    total = models.PositiveBigIntegerField(_("total in minor units"))
    # Parts of the total: discount is taken off already, tip and tax are in it.
    discount = models.PositiveBigIntegerField(_("discount"), default=0, db_default=0)
    tip = models.PositiveBigIntegerField(_("tip"), default=0, db_default=0)
    tax = models.PositiveBigIntegerField(_("tax included"), default=0, db_default=0)
    promo = models.ForeignKey(
        "ordering.PromoCode",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="orders",
        db_index=False,
        verbose_name=_("promo code"),
    )
    promo_code = models.CharField(_("promo code as given"), max_length=30, blank=True, default="", db_default="")
    payment_method = models.CharField(
        _("payment"),
        max_length=10,
        choices=PaymentMethod,
        default=PaymentMethod.COUNTER,
        db_default=PaymentMethod.COUNTER.value,
    )
    # None: as soon as possible.
    pickup_at = models.DateTimeField(_("to be collected at"), null=True, blank=True)
    placed_at = models.DateTimeField(_("placed at"))

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        permissions = [("work_kitchen", "Can work in the kitchen")]
        constraints = [models.UniqueConstraint(fields=["day", "number"], name="ordering_order_number_of_day")]
        indexes = [
            # The kitchen asks for a status and the oldest of it, however many orders are stored.
            models.Index(fields=["status", "status_since"], name="ordering_order_board"),
            # A customer's history, newest first.
            models.Index(
                fields=["customer", "-placed_at"],
                condition=models.Q(customer__isnull=False),
                name="ordering_order_history",
            ),
            # How often a customer has used a code.
            models.Index(fields=["promo"], condition=models.Q(promo__isnull=False), name="ordering_order_promo"),
        ]

    def __str__(self) -> str:
        return f"{self.day} #{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("ordering:order", args=[self.token])

    @property
    def goods(self) -> int:
        """What the lines cost before discount and tip, in minor units."""
        return self.total + self.discount - self.tip


class OrderLine(models.Model):
    """What was bought, under the name and at the price of that moment. `item` is None once the menu lost it.

    `name` is in the shop's own language, for the kitchen; `shown` is what the customer read.
    """

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    item = models.ForeignKey(MenuItem, on_delete=models.SET_NULL, null=True, related_name="+")
    slug = models.CharField(max_length=50)
    name = models.CharField(_("name"), max_length=80)
    price = models.PositiveIntegerField()
    quantity = models.PositiveSmallIntegerField(_("quantity"))
    shown = models.CharField(max_length=80, default="", db_default="", blank=True)
    # As sold, see `pricing.as_sold`. `price` holds the extra prices already.
    choices = models.JSONField(default=list, db_default=models.Value([], output_field=models.JSONField()))
    # The counted rows that the line took: [[kind, primary key, quantity]]; a cancellation gives them back.
    taken = models.JSONField(default=list, db_default=models.Value([], output_field=models.JSONField()))
    # True where the item's own stock was counted down: what a release reads that does not know `taken`.
    counted = models.BooleanField(default=False, db_default=False)
    # Rate in basis points (1900 is 19 %) of the tax inside the price, and this line's share of the order's discount.
    tax_rate = models.PositiveSmallIntegerField(default=0, db_default=0)
    discount = models.PositiveBigIntegerField(default=0, db_default=0)
    # Where in the kitchen it is made, which stations have made their part, and since when all of it is.
    station = models.CharField(_("station"), max_length=20, blank=True, default="", db_default="")
    made = models.JSONField(default=list, db_default=models.Value([], output_field=models.JSONField()))
    made_at = models.DateTimeField(_("made at"), null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        verbose_name = _("line of an order")
        verbose_name_plural = _("what was ordered")

    def __str__(self) -> str:
        return f"{self.quantity} x {self.name}"

    @property
    def total(self) -> int:
        return self.price * self.quantity

    @property
    def title(self) -> str:
        return self.shown or self.name

    @property
    def description(self) -> str:
        """The choices in a few words, as the customer read them."""
        return ", ".join(choice["shown"] for choice in self.choices)


class OrderEvent(models.Model):
    """One change of an order's status; the rows of an order are its whole history, oldest first."""

    class Kind(models.TextChoices):
        PLACED = "placed", _("Placed")
        PAID = "paid", _("Paid")
        ADVANCED = "advanced", _("Moved on")
        UNDONE = "undone", _("Undone")
        CANCELED = "canceled", _("Canceled")

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    from_status = models.CharField(_("status before"), max_length=12, choices=Status, blank=True, default="")
    to_status = models.CharField(_("status after"), max_length=12, choices=Status)
    at = models.DateTimeField(_("at"))
    actor = models.CharField(_("by"), max_length=150, blank=True, default="", db_default="")
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="", db_default="")

    class Meta:
        ordering = ["pk"]
        verbose_name = _("event of an order")
        verbose_name_plural = _("what happened")

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.get_to_status_display()}"


class DayCounter(models.Model):
    """The last order number given out on a day. Its row is the lock that keeps numbers without gap or
    double."""

    day = models.DateField(primary_key=True)
    last = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.day}: {self.last}"
