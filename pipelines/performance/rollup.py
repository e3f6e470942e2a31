"""Keeps what is stored small: parts become minutes, minutes hours, hours days, and days go.

Every step is one transaction that replaces rows by their sum, so it may be cut short, repeated and raced.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction

from pipelines.performance.models import Level, Measurement
from pipelines.performance.sketch import Sketch

LENGTHS = {Level.MINUTE: 60, Level.HOUR: 3600, Level.DAY: 86_400}
# How old a period of the level below is before it is folded. A part may come late by a flush or an outage; then it
# makes a second row, which the next level takes in.
AGES = {Level.MINUTE: timedelta(seconds=90), Level.HOUR: timedelta(hours=24), Level.DAY: timedelta(days=14)}
EVERY = 15.0  # seconds
MOST_PERIODS = 50  # in one turn, so that a long outage is made good in pieces
CHUNK = 2000  # rows
_SERIES = ("environment", "release", "route", "device", "metric")


def fold(now: datetime) -> int:
    """Fold what is old enough and forget what is too old; returns how many periods were folded."""
    done = 0
    for level, age in AGES.items():
        done += _fold_level(level, now - age, MOST_PERIODS - done)
    if settings.KEEP_MEASUREMENTS:
        oldest = now - timedelta(days=settings.KEEP_MEASUREMENTS)
        _forget(oldest)
    return done


def _fold_level(level: Level, before: datetime, most: int) -> int:
    """Make rows of `level` of those below it, in whole periods that ended before `before`."""
    below = Measurement.objects.filter(level=level - 1)
    length = LENGTHS[level]
    done, since = 0, None
    while done < most:
        left = below if since is None else below.filter(start__gte=since)
        first = left.order_by("start").values_list("start", flat=True).first()
        if first is None:
            break
        start = datetime.fromtimestamp(first.timestamp() // length * length, UTC)
        since = start + timedelta(seconds=length)
        if since > before:
            break
        _fold_period(level, start, since)
        done += 1
    return done


def _fold_period(level: Level, start: datetime, end: datetime) -> None:
    with transaction.atomic():
        rows = Measurement.objects.select_for_update().filter(level=level - 1, start__gte=start, start__lt=end)
        found = list(rows.order_by("pk"))
        Measurement.objects.bulk_create(_sums(found, level, start), batch_size=500)
        keys = [row.pk for row in found]
        for at in range(0, len(keys), CHUNK):
            Measurement.objects.filter(pk__in=keys[at : at + CHUNK]).delete()


def _sums(rows: Iterable[Measurement], level: Level, start: datetime) -> list[Measurement]:
    groups: dict[tuple[str, ...], list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[tuple(getattr(row, name) for name in _SERIES)].append(row)
    return [
        Measurement(
            level=level,
            start=start,
            **dict(zip(_SERIES, series, strict=True)),
            count=sum(row.count for row in group),
            sketch=merged(row.sketch for row in group),
        )
        for series, group in groups.items()
    ]


def merged(sketches: Iterable[bytes | memoryview]) -> bytes:
    """One sketch of several, as bytes; b"" of none."""
    found = [bytes(one) for one in sketches if one]
    if len(found) <= 1:
        return found[0] if found else b""
    whole = Sketch.from_bytes(found[0])
    for one in found[1:]:
        whole.merge(Sketch.from_bytes(one))
    return whole.to_bytes()


def _forget(before: datetime) -> None:
    old = Measurement.objects.filter(start__lt=before).order_by("start")
    while keys := list(old.values_list("pk", flat=True)[:CHUNK]):
        Measurement.objects.filter(pk__in=keys).delete()


class Turns:
    """Folds every `EVERY` seconds; call `take` as often as you like."""

    def __init__(self) -> None:
        self._next = 0.0

    def take(self, now: datetime) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            fold(now)
