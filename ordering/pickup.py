"""When an order can be had: opening hours, the pause, and pickup slots, of which none is ever given out twice."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ordering import conf
from ordering.hours import HORIZON, Calendar, Stretch
from ordering.models import OpeningHours, PickupSlot, ShopState, SpecialDay
from ordering.wishes import Problem

# What a form can hold: two weeks of eleven hours in steps of five minutes.
MAX_OFFERED = 2_000


def _statement() -> str:
    """All rows of the shop's state, the opening hours and the special days from one date to another: (table, row as a
    text)."""
    parts = []
    for model in (ShopState, OpeningHours, SpecialDay):
        table = model._meta
        texts = [f"COALESCE(CAST({field.column} AS text), '-')" for field in table.concrete_fields]
        said = " || '|' || ".join(texts)
        parts.append(f"SELECT '{table.model_name}' AS kind, {said} AS said FROM {table.db_table}")  # noqa: S608
    return " UNION ALL ".join(parts) + " WHERE date >= %s AND date <= %s"


# By hand and once: every order asks this.
STATEMENT = _statement()


@dataclass(frozen=True, slots=True)
class Slot:
    """A time that can be chosen; `left` is how many more orders it takes."""

    starts_at: dt.datetime
    left: int


@dataclass(frozen=True, slots=True)
class Hours:
    """The shop's hours and what staff have set, as they were read at `now`."""

    now: dt.datetime
    state: ShopState
    calendar: Calendar
    # What `STATEMENT` finds while they are as they are; None where nobody will ask.
    rows: frozenset[Any] | None = None

    @property
    def paused_until(self) -> dt.datetime | None:
        return self.state.paused_until if self.state.is_paused(self.now) else None

    @property
    def is_open(self) -> bool:
        """Whether an order is taken that shall be ready as soon as possible."""
        return self.paused_until is None and self.calendar.is_open(self.now)

    @property
    def first_slot(self) -> dt.datetime:
        """Before this the kitchen cannot have an order ready at a given time."""
        return max(self.now, self.paused_until or self.now) + dt.timedelta(minutes=self.state.lead_minutes)

    def slots(self) -> list[dt.datetime]:
        found = self.calendar.slots(first=self.now, days=self.state.days_ahead, minutes=self.state.slot_minutes)
        return [moment for moment in found if moment >= self.first_slot]

    @property
    def closed_because(self) -> str:
        """Why nothing is taken at once, and from when on again; "" where it is."""
        if until := self.paused_until:
            reason = f" {self.state.pause_reason}" if self.state.pause_reason else ""
            return _("We take a break until %(time)s.") % {"time": moment_words(until, now=self.now)} + reason
        if self.is_open:
            return ""
        opens = self.calendar.opens_next(self.now)
        if opens is None:
            return _("We are closed.")
        return _("We are closed. We open %(time)s.") % {"time": moment_words(opens, now=self.now)}


def hours(now: dt.datetime | None = None) -> Hours:
    """Three queries, whatever is stored."""
    now = now or timezone.now()
    return Hours(now, state(), _calendar(now))


def state() -> ShopState:
    return ShopState.objects.order_by("pk").first() or ShopState()


def known(now: dt.datetime) -> Hours:
    """The hours with their `rows`. Four queries."""
    with connection.cursor() as cursor:
        cursor.execute(STATEMENT, bounds(now))
        rows = frozenset(cursor.fetchall())
    return replace(hours(now), rows=rows)  # read last: what changed meanwhile is known to have


def bounds(now: dt.datetime) -> list[str]:
    """What `STATEMENT` wants to know."""
    return [day.isoformat() for day in _near(now)]


def _near(now: dt.datetime) -> tuple[dt.date, dt.date]:
    """The first and the last day of which anybody may want to know."""
    today = now.astimezone(conf.time_zone()).date()
    return today - dt.timedelta(days=1), today + dt.timedelta(days=HORIZON + 1)


def _calendar(now: dt.datetime) -> Calendar:
    first, last = _near(now)
    weekly: dict[int, list[Stretch]] = defaultdict(list)
    for weekday, opens, closes in OpeningHours.objects.values_list("weekday", "opens", "closes"):
        weekly[weekday].append((opens, closes))
    near = SpecialDay.objects.filter(date__gte=first, date__lte=last)
    special: dict[dt.date, tuple[Stretch, ...]] = {
        day.date: ((day.opens, day.closes),) if day.opens is not None and day.closes is not None else () for day in near
    }
    return Calendar(conf.time_zone(), {weekday: tuple(found) for weekday, found in weekly.items()}, special)


def problems_of_pickup(pickup: dt.datetime | None, shop: Hours) -> Iterator[Problem]:
    """What stands in the way of having an order then; None means as soon as possible."""
    if pickup is None:
        if closed := shop.closed_because:
            offers = _("Choose a time to collect instead.") if shop.slots() else ""
            yield Problem("paused" if shop.paused_until else "closed", f"{closed} {offers}".strip())
    elif pickup not in shop.slots():
        yield Problem("no_such_slot", _("Nothing can be collected at that time. Choose another."))


def offered(shop: Hours) -> list[Slot]:
    """The slots that can be chosen and are not full, the earliest first. One query."""
    moments = shop.slots()
    if not moments:
        return []
    rows = PickupSlot.objects.filter(starts_at__gte=moments[0], starts_at__lte=moments[-1])
    left = {
        starts_at: (shop.state.slot_capacity if capacity is None else capacity) - taken
        for starts_at, capacity, taken in rows.values_list("starts_at", "capacity", "taken")
    }
    free = (Slot(moment, left.get(moment, shop.state.slot_capacity)) for moment in moments)
    return [slot for slot in free if slot.left > 0][:MAX_OFFERED]


def take(pickup: dt.datetime, shop: ShopState) -> bool:
    """Take a place in a slot, in the caller's transaction. Whether there was one."""
    return bool(_take_one(pickup, shop)) or (_made(pickup) and bool(_take_one(pickup, shop)))


def _take_one(pickup: dt.datetime, shop: ShopState) -> int:
    # The condition and the count are one statement: two orders cannot both find the last place.
    rows = PickupSlot.objects.filter(starts_at=pickup, taken__lt=Coalesce(F("capacity"), shop.slot_capacity))
    return rows.update(taken=F("taken") + 1)


def _made(pickup: dt.datetime) -> bool:
    return PickupSlot.objects.get_or_create(starts_at=pickup)[1]


def give_back(pickup: dt.datetime) -> None:
    PickupSlot.objects.filter(starts_at=pickup, taken__gt=0).update(taken=F("taken") - 1)


def full(pickup: dt.datetime) -> Problem:
    return Problem(
        "slot_full",
        _("The time %(time)s has just been taken. Choose another.") % {"time": moment_words(pickup)},
    )


@transaction.atomic
def pause(*, minutes: int, reason: str = "") -> ShopState:
    """Take no order for the next so many minutes; 0 ends a pause."""
    ShopState.objects.get_or_create(pk=1)
    until = timezone.now() + dt.timedelta(minutes=minutes) if minutes else None
    current = ShopState.objects.select_for_update().get(pk=1)
    current.paused_until, current.pause_reason = until, reason if minutes else ""
    current.save(update_fields=["paused_until", "pause_reason"])
    return current


def moment_words(moment: dt.datetime, *, now: dt.datetime | None = None) -> str:
    """A moment as people say it at the place of the shop: the time alone where it is today, else with the day."""
    zone = conf.time_zone()
    local, today = moment.astimezone(zone), (now or timezone.now()).astimezone(zone).date()
    clock = formats.time_format(local.time(), pgettext("clock", "H:i"))
    if local.date() == today:
        return clock
    if local.date() == today + dt.timedelta(days=1):
        return _("tomorrow at %(time)s") % {"time": clock}
    day = formats.date_format(local, pgettext("day", "D j F"))
    return _("on %(day)s at %(time)s") % {"day": day, "time": clock}
