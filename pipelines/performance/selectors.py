"""What was measured, for whoever shows or judges it. Times are aware datetimes; a period counts if it begins in
[since, until). Minutes are kept for a day, hours for two weeks, days for as long as the installation says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.db.models import Max, Min, QuerySet, Sum

from pipelines.models import Beat
from pipelines.performance.models import Measurement
from pipelines.performance.sketch import Sketch

Dimension = Literal["release", "route", "device"]
# Which metrics people feel, and the one that servers time: milliseconds, save CLS, which has no unit.
VITALS = ("LCP", "INP", "CLS", "FCP", "TTFB")
DURATION = "duration"
PROBE = "probe."


@dataclass(frozen=True, slots=True)
class Counts:
    """`errors` are answers of 500 and above, `sessions` visits that began, `orders` orders that were placed."""

    requests: int = 0
    errors: int = 0
    sessions: int = 0
    orders: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """`start` of a step, how often the metric was seen in it, and how it was distributed (empty if only counted)."""

    start: datetime
    count: int
    sketch: Sketch


@dataclass(frozen=True, slots=True)
class Probed:
    """`what` is "http", "failed" or one of the vitals; `in_browser` tells a view from a request without a browser."""

    start: datetime
    release: str
    path: str
    in_browser: bool
    what: str
    count: int
    sketch: Sketch


def sketch(
    environment: str,
    release: str | None,
    metric: str,
    since: datetime,
    until: datetime,
    route: str | None = None,
    device: str | None = None,
) -> Sketch:
    """How a metric was distributed; None for release, route or device takes all of them."""
    rows = _rows(environment, since, until, release=release, route=route, device=device).filter(metric=metric)
    return _merged(rows.exclude(sketch=b"").values_list("sketch", flat=True).iterator())


def counts(environment: str, release: str | None, since: datetime, until: datetime, route: str | None = None) -> Counts:
    """What servers counted."""
    rows = _rows(environment, since, until, release=release, route=route)
    rows = rows.filter(metric__in=[*(f"status.{n}xx" for n in range(1, 6)), "sessions", "orders"])
    return _counts(dict(rows.order_by().values_list("metric").annotate(Sum("count"))))


def counts_over_time(
    environment: str,
    since: datetime,
    until: datetime,
    step: timedelta,
    *,
    by: Dimension | None = None,
    release: str | None = None,
    route: str | None = None,
) -> dict[str, list[tuple[datetime, Counts]]]:
    """Counts of each step that has any, by the value of `by` ("" is the one key without it), oldest first."""
    rows = _rows(environment, since, until, release=release, route=route)
    rows = rows.filter(metric__in=[*(f"status.{n}xx" for n in range(1, 6)), "sessions", "orders"])
    found: dict[tuple[str, datetime], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for start, who, metric, count in rows.order_by().values_list("start", by or "metric", "metric", "count"):
        found[who if by else "", floor(start, step)][metric] += count
    lines: dict[str, list[tuple[datetime, Counts]]] = defaultdict(list)
    for (who, start), totals in sorted(found.items()):
        lines[who].append((start, _counts(totals)))
    return dict(lines)


def over_time(
    environment: str,
    metric: str,
    since: datetime,
    until: datetime,
    step: timedelta,
    *,
    by: Dimension | None = None,
    release: str | None = None,
    route: str | None = None,
    device: str | None = None,
) -> dict[str, list[Point]]:
    """A metric's points of each step that has any, by the value of `by` ("" is the one key without it), oldest
    first."""
    rows = _rows(environment, since, until, release=release, route=route, device=device).filter(metric=metric)
    found: dict[tuple[str, datetime], tuple[int, Sketch]] = {}
    for start, who, count, data in rows.order_by().values_list("start", by or "metric", "count", "sketch").iterator():
        key = (who if by else "", floor(start, step))
        before, whole = found.get(key, (0, Sketch()))
        found[key] = (before + count, whole.merge(Sketch.from_bytes(data)) if data else whole)
    lines: dict[str, list[Point]] = defaultdict(list)
    for (who, start), (count, whole) in sorted(found.items(), key=lambda item: item[0]):
        lines[who].append(Point(start, count, whole))
    return dict(lines)


def known(environment: str, dimension: Dimension, since: datetime, until: datetime) -> list[str]:
    """The releases, routes or device classes that visitors or servers measured something of; releases in the order of
    their first."""
    rows = _rows(environment, since, until).exclude(**{dimension: ""}).exclude(metric__startswith=PROBE)
    order = "first" if dimension == "release" else dimension
    return list(rows.values_list(dimension, flat=True).annotate(first=Min("start")).order_by(order))


def last_seen(environment: str, metric: str, release: str | None = None) -> datetime | None:
    """When the metric was last measured, to the minute."""
    rows = Measurement.objects.filter(environment=environment, metric=metric)
    return (rows.filter(release=release) if release is not None else rows).aggregate(Max("start"))["start__max"]


def dropped(since: datetime, until: datetime, environment: str = "") -> dict[str, int]:
    """How many reports that came to an environment were not counted, by reason; "" takes those of which it is not
    known where they came from."""
    rows = _rows(environment, since, until).filter(metric__startswith="dropped.")
    found = rows.order_by().values_list("metric").annotate(Sum("count"))
    return {metric.removeprefix("dropped."): count for metric, count in found}


def views(environment: str, since: datetime, until: datetime) -> int:
    """How many page views browsers reported."""
    rows = _rows(environment, since, until).filter(metric__startswith="view.")
    return rows.aggregate(Sum("count"))["count__sum"] or 0


def probed(environment: str, since: datetime, until: datetime) -> Iterator[Probed]:
    """What the portal's own views and requests came to."""
    rows = _rows(environment, since, until).filter(metric__startswith=PROBE).order_by()
    found = rows.values_list("start", "release", "route", "device", "metric", "count", "sketch").iterator()
    for start, release, path, device, metric, count, data in found:
        sketch = Sketch.from_bytes(data) if data else Sketch()
        yield Probed(start, release, path, bool(device), metric.removeprefix(PROBE), count, sketch)


def probing() -> Mapping[str, Any]:
    """How probes went the last time: {"at", "browser", "problem", "views", "failures"}; "problem" says why no browser
    was used, "" if one was. Each page's last failure is {"environment", "release", "path", "at", "problem"}. Empty
    before the first."""
    beat = Beat.objects.filter(name="probe").first()
    return {"at": beat.at, **beat.data} if beat and beat.data else {}


def _rows(environment: str, since: datetime, until: datetime, **only: str | None) -> QuerySet[Measurement]:
    chosen: dict[str, Any] = {name: value for name, value in only.items() if value is not None}
    return Measurement.objects.filter(environment=environment, start__gte=since, start__lt=until, **chosen)


def _merged(sketches: Iterator[bytes | memoryview]) -> Sketch:
    whole = Sketch()
    for one in sketches:
        whole.merge(Sketch.from_bytes(one))
    return whole


def _counts(totals: dict[str, int]) -> Counts:
    return Counts(
        requests=sum(count for metric, count in totals.items() if metric.startswith("status.")),
        errors=totals.get("status.5xx", 0),
        sessions=totals.get("sessions", 0),
        orders=totals.get("orders", 0),
    )


def floor(at: datetime, step: timedelta) -> datetime:
    """When the step began in which a moment is."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)
