"""When the shop sells: opening hours, days that differ, pickup slots, and what staff set for the whole shop."""

from __future__ import annotations

import datetime as dt

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _


class Weekday(models.IntegerChoices):
    MONDAY = 0, _("Monday")
    TUESDAY = 1, _("Tuesday")
    WEDNESDAY = 2, _("Wednesday")
    THURSDAY = 3, _("Thursday")
    FRIDAY = 4, _("Friday")
    SATURDAY = 5, _("Saturday")
    SUNDAY = 6, _("Sunday")


class OpeningHours(models.Model):
    """One stretch of a weekday, in the shop's own time. What closes at or before it opens, closes the day after.

    A shop without any row is always open.
    """

    weekday = models.PositiveSmallIntegerField(_("weekday"), choices=Weekday)
    opens = models.TimeField(_("opens"))
    closes = models.TimeField(_("closes"))

    class Meta:
        ordering = ["weekday", "opens"]
        verbose_name = _("opening hours")
        verbose_name_plural = _("opening hours")
        constraints = [models.UniqueConstraint(fields=["weekday", "opens"], name="ordering_hours_once")]

    def __str__(self) -> str:
        return f"{Weekday(self.weekday).label} {self.opens:%H:%M} - {self.closes:%H:%M}"


class SpecialDay(models.Model):
    """A date on which the weekly hours do not hold: closed, or open at other times."""

    date = models.DateField(_("date"), unique=True)
    opens = models.TimeField(_("opens"), null=True, blank=True)
    closes = models.TimeField(_("closes"), null=True, blank=True, help_text=_("Both empty: closed that day."))
    note = models.CharField(_("note"), max_length=100, blank=True, default="", db_default="")

    class Meta:
        ordering = ["date"]
        verbose_name = _("special day")
        verbose_name_plural = _("special days")

    def __str__(self) -> str:
        hours = f"{self.opens:%H:%M} - {self.closes:%H:%M}" if self.opens and self.closes else str(_("closed"))
        return f"{self.date} {hours}"

    def clean(self) -> None:
        if (self.opens is None) != (self.closes is None):
            raise ValidationError(_("Give both times, or neither where the shop is closed that day."))


class PickupSlot(models.Model):
    """A time at which orders are collected, and how many have taken it. A row appears with its first order.

    `capacity` None means what the shop's settings say.
    """

    starts_at = models.DateTimeField(_("starts at"), unique=True)
    capacity = models.PositiveSmallIntegerField(_("capacity"), null=True, blank=True)
    taken = models.PositiveIntegerField(_("taken"), default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["starts_at"]
        verbose_name = _("pickup slot")
        verbose_name_plural = _("pickup slots")

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M}"


class ShopState(models.Model):
    """What staff set for the whole shop: the pause, the slots, the pace of the kitchen. There is one row, or none
    yet, which means the defaults."""

    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    pause_reason = models.CharField(_("reason for the pause"), max_length=120, blank=True, default="", db_default="")
    slot_minutes = models.PositiveSmallIntegerField(
        _("minutes from one pickup slot to the next"),
        default=15,
        db_default=15,
        validators=[MinValueValidator(5), MaxValueValidator(240)],
    )
    slot_capacity = models.PositiveSmallIntegerField(_("orders in one pickup slot"), default=8, db_default=8)
    lead_minutes = models.PositiveSmallIntegerField(
        _("minutes that the kitchen needs before a pickup slot"), default=20, db_default=20
    )
    days_ahead = models.PositiveSmallIntegerField(
        _("days ahead for which orders are taken"), default=1, db_default=1, validators=[MaxValueValidator(14)]
    )
    base_minutes = models.PositiveSmallIntegerField(
        _("minutes for an order when nothing else waits"), default=8, db_default=8
    )
    minutes_per_order = models.PositiveSmallIntegerField(
        _("minutes that each order before it adds"), default=2, db_default=2
    )

    class Meta:
        verbose_name = _("shop")
        verbose_name_plural = _("shop")

    def __str__(self) -> str:
        return str(_("Pause, pickup and pace"))

    def is_paused(self, now: dt.datetime) -> bool:
        return self.paused_until is not None and now < self.paused_until
