"""However long something is measured, what is stored stays small, and says the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.performance import rollup, selectors
from pipelines.performance.models import Level, Measurement
from pipelines.performance.sketch import Sketch

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def seen(start: datetime, *values: float, release: str = "shop-1", level: Level = Level.PART) -> None:
    Measurement.objects.create(
        level=level, start=start, environment="production", release=release, route="menu", device="phone",
        metric="LCP", count=len(values), sketch=Sketch(values).to_bytes(),
    )  # fmt: skip


def levels() -> dict[int, int]:
    found: dict[int, int] = {}
    for level in Measurement.objects.values_list("level", flat=True):
        found[level] = found.get(level, 0) + 1
    return found


def everything() -> Sketch:
    return selectors.sketch("production", None, "LCP", NOON - timedelta(days=1000), NOON + timedelta(days=1000))


def fold(now: datetime) -> None:
    while rollup.fold(now):
        pass


def test_parts_become_minutes_when_their_minute_is_over():
    for number in range(30):
        seen(NOON, 100 + number)
    seen(NOON, 9000, release="shop-2")
    fold(NOON + timedelta(seconds=140))
    assert levels() == {Level.PART: 31}
    fold(NOON + timedelta(seconds=150))
    assert levels() == {Level.MINUTE: 2}
    assert selectors.sketch("production", "shop-1", "LCP", NOON, NOON + timedelta(minutes=1)).count == 30


def test_what_comes_late_is_added():
    seen(NOON, 1)
    fold(NOON + timedelta(minutes=5))
    seen(NOON, 2)
    fold(NOON + timedelta(minutes=5))
    assert levels() == {Level.MINUTE: 2}
    fold(NOON + timedelta(hours=26))
    assert levels() == {Level.HOUR: 1}
    assert everything() == Sketch([1, 2])


def test_minutes_become_hours_hours_days_and_days_go(settings):
    settings.KEEP_MEASUREMENTS = 100
    for minute in range(0, 3 * 1440, 7):
        seen(NOON + timedelta(minutes=minute), 500 + minute % 100)
    before = everything()
    fold(NOON + timedelta(days=3))
    minutes = Measurement.objects.filter(level=Level.MINUTE)
    assert minutes.earliest("start").start >= NOON + timedelta(days=2)
    fold(NOON + timedelta(days=30))
    assert levels() == {Level.DAY: 4}
    assert everything() == before
    fold(NOON + timedelta(days=101, hours=1))
    assert levels() == {Level.DAY: 2}
    settings.KEEP_MEASUREMENTS = 0
    fold(NOON + timedelta(days=1000))
    assert levels() == {Level.DAY: 2}


def test_a_long_outage_is_made_good_in_pieces(monkeypatch):
    monkeypatch.setattr(rollup, "MOST_PERIODS", 10)
    for minute in range(35):
        seen(NOON + timedelta(minutes=minute), 1, 2)
    now = NOON + timedelta(hours=1)
    assert [rollup.fold(now) for _ in range(5)] == [10, 10, 10, 5, 0]
    assert everything().count == 70


def test_being_cut_short_loses_and_doubles_nothing(monkeypatch):
    seen(NOON, 1)
    seen(NOON, 2)

    def killed(*_: object) -> list[Measurement]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rollup, "_sums", killed)
        with pytest.raises(KeyboardInterrupt):
            rollup.fold(NOON + timedelta(minutes=5))
    fold(NOON + timedelta(minutes=5))
    assert everything() == Sketch([1, 2])


def test_points_over_time_by_release():
    seen(NOON, 100, 200)
    seen(NOON + timedelta(minutes=4), 300)
    seen(NOON + timedelta(minutes=6), 900, release="shop-2")
    step = timedelta(minutes=5)
    lines = selectors.over_time("production", "LCP", NOON, NOON + timedelta(hours=1), step, by="release")
    assert {who: [(point.start, point.count) for point in points] for who, points in lines.items()} == {
        "shop-1": [(NOON, 3)],
        "shop-2": [(NOON + step, 1)],
    }
    assert selectors.last_seen("production", "LCP") == NOON + timedelta(minutes=6)
