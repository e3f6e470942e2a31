"""When the shop is open. Pure: plain data in, plain data out, no database and no Django.

Hours are meant in the time of the place where the shop stands; moments are aware.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

# How far ahead anybody looks for the next opening.
HORIZON = 14

Stretch = tuple[dt.time, dt.time]
Span = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Calendar:
    """`weekly` maps weekdays (Monday is 0) to stretches of opening, `special` dates on which others hold, none of them
    where the shop stays closed. Without anything weekly the shop is always open, save on special days."""

    zone: ZoneInfo
    weekly: Mapping[int, tuple[Stretch, ...]] = field(default_factory=dict)
    special: Mapping[dt.date, tuple[Stretch, ...]] = field(default_factory=dict)

    def local_day(self, moment: dt.datetime) -> dt.date:
        return moment.astimezone(self.zone).date()

    def spans(self, day: dt.date) -> list[Span]:
        """From when to when the shop is open by this day's hours, which may end on the day after."""
        if day in self.special:
            stretches = self.special[day]
        elif self.weekly:
            stretches = self.weekly.get(day.weekday(), ())
        else:
            stretches = ((dt.time(), dt.time()),)
        return sorted(self._span(day, opens, closes) for opens, closes in stretches)

    def is_open(self, moment: dt.datetime) -> bool:
        return any(start <= moment < end for start, end in self._around(moment))

    def opens_next(self, moment: dt.datetime) -> dt.datetime | None:
        """The first moment from now on at which the shop is open; None where none is in sight."""
        if self.is_open(moment):
            return moment
        starts = (start for day in self._days(moment, HORIZON) for start, _end in self.spans(day))
        return min((start for start in starts if start >= moment), default=None)

    def closes_next(self, moment: dt.datetime) -> dt.datetime | None:
        """When the shop closes that is open now; None where it does not close in sight."""
        end = moment
        for start, stop in sorted(span for day in self._days(moment, HORIZON) for span in self.spans(day)):
            if start <= end < stop:
                end = stop
        horizon = moment + dt.timedelta(days=HORIZON - 1)
        return end if moment < end < horizon else None

    def slots(self, *, first: dt.datetime, days: int, minutes: int) -> list[dt.datetime]:
        """The times of collecting from `first` on, by the hours of today and of `days` days on: every so many minutes
        from each opening, before it closes, which may be after midnight."""
        found: set[dt.datetime] = set()
        for day in self._days(first, days + 1):
            for start, end in self.spans(day):
                found.update(moment for moment in _steps(start, end, minutes) if moment >= first)
        return sorted(found)

    def _span(self, day: dt.date, opens: dt.time, closes: dt.time) -> Span:
        until = day if closes > opens else day + dt.timedelta(days=1)
        start = dt.datetime.combine(day, opens, self.zone)
        return start.astimezone(dt.UTC), dt.datetime.combine(until, closes, self.zone).astimezone(dt.UTC)

    def _around(self, moment: dt.datetime) -> Iterator[Span]:
        for day in self._days(moment, 1):
            yield from self.spans(day)

    def _days(self, moment: dt.datetime, ahead: int) -> Iterator[dt.date]:
        """Yesterday, whose hours may end today, today, and the days after."""
        today = self.local_day(moment)
        yield from (today + dt.timedelta(days=n) for n in range(-1, ahead))


def _steps(start: dt.datetime, end: dt.datetime, minutes: int) -> Iterator[dt.datetime]:
    moment = start
    while moment < end:
        yield moment
        moment += dt.timedelta(minutes=minutes)
