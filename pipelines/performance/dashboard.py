"""How an environment did over time, and what a release changed: what pages and API show, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.models import Environment, Release, Stage
from pipelines.performance import selectors
from pipelines.performance.budgets import Budget, BudgetError, parse
from pipelines.performance.metrics import METRICS, Metric
from pipelines.performance.selectors import Counts, Dimension
from pipelines.performance.sketch import Sketch
from pipelines.performance.verdict import QUANTILE, Reading

# How far back, by the name in addresses, with the step of its points.
RANGES: Mapping[str, tuple[timedelta, timedelta]] = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "6h": (timedelta(hours=6), timedelta(minutes=10)),
    "24h": (timedelta(hours=24), timedelta(minutes=30)),
    "14d": (timedelta(days=14), timedelta(hours=6)),
    "90d": (timedelta(days=90), timedelta(days=1)),
}
DEFAULT_RANGE = "6h"
# A chart with more lines says nothing; the last releases count, the busiest routes.
MOST_LINES = 4
# What a release is compared by: as long as this after it came, and before.
COMPARED = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Point:
    """`value` is a 75th percentile in ms, a score or a share; `count` is of how many views, requests or visits."""

    at: datetime
    value: float
    count: int


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: Sequence[Point]
    value: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Graph:
    """One metric over the whole time: `value` and `count` of everything, `lines` by what was asked."""

    metric: Metric
    limit: float | None
    value: float | None
    count: int
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Board:
    """`step` is between two points. `deploys` are the releases that came meanwhile, oldest first."""

    since: datetime
    until: datetime
    step: timedelta
    by: Dimension
    graphs: Sequence[Graph]
    deploys: Sequence[Release] = ()
    routes: Sequence[str] = ()
    devices: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        return not any(graph.count for graph in self.graphs)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page or program asks for; "" of route or device is all of them."""

    range: str = DEFAULT_RANGE
    by: Dimension = "release"
    route: str = ""
    device: str = ""


def board(environment: Environment, asked: Asked, now: datetime) -> Board:
    """The same number of statements whatever is stored; reads as many rows as the time asked for has."""
    length, step = RANGES[asked.range]
    until = _ceil(now, step)
    since = until - length
    limits = {budget.metric.name: budget.limit for budget in budgets(environment)}
    name = environment.name
    graphs = [
        _graph(metric, limits.get(metric.name), lines, asked.by)
        for metric, lines in _measured(name, asked, since, until, step)
    ]
    return Board(
        since=since,
        until=until,
        step=step,
        by=asked.by,
        graphs=graphs,
        deploys=list(environment.releases.filter(rolled_out_at__gte=since).select_related("run").order_by("id")),
        routes=selectors.known(name, "route", since, until),
        devices=selectors.known(name, "device", since, until),
    )


Lines = dict[str, list[tuple[datetime, "_Seen"]]]


@dataclass(slots=True)
class _Seen:
    """What one point, or several together, is of: a sketch, or hits in a count."""

    sketch: Sketch | None = None
    hits: int = 0
    count: int = 0

    def value(self, metric: Metric) -> float | None:
        if metric.kind in ("errors", "orders"):
            return self.hits / self.count if self.count else None
        return self.sketch.quantile(QUANTILE) if self.sketch and self.sketch.count else None

    def add(self, other: _Seen) -> None:
        self.hits, self.count = self.hits + other.hits, self.count + other.count
        if other.sketch is not None:
            self.sketch = (self.sketch or Sketch()).merge(other.sketch)


def _measured(
    name: str, asked: Asked, since: datetime, until: datetime, step: timedelta
) -> Iterator[tuple[Metric, Lines]]:
    route, device = asked.route or None, asked.device or None
    browsers_alone = bool(device) or asked.by == "device"
    for metric in METRICS.values():
        # Servers do not know devices: of one, or by device, only browsers say something.
        if metric.source and not (metric.source == selectors.DURATION and browsers_alone):
            found = selectors.over_time(
                name, metric.source, since, until, step, by=asked.by, route=route, device=device
            )
            yield (
                metric,
                {
                    who: [(point.start, _Seen(point.sketch, count=point.count)) for point in points]
                    for who, points in found.items()
                },
            )
    if browsers_alone:
        return
    counted = selectors.counts_over_time(name, since, until, step, by=asked.by, route=route)
    for kind in ("errors", "orders"):
        yield (
            METRICS[kind],
            {
                who: [(start, seen) for start, counts in points if (seen := _share(kind, counts)).count]
                for who, points in counted.items()
            },
        )


def _share(kind: str, counts: Counts) -> _Seen:
    if kind == "errors":
        return _Seen(hits=counts.errors, count=counts.requests)
    return _Seen(hits=min(counts.orders, counts.sessions), count=counts.sessions)


def _graph(metric: Metric, limit: float | None, lines: Lines, by: Dimension) -> Graph:
    whole = _Seen()
    drawn = []
    for who, points in lines.items():
        total = _Seen()
        for _, seen in points:
            total.add(seen)
        if not total.count:
            continue
        whole.add(total)
        shown = [Point(at, value, seen.count) for at, seen in points if (value := seen.value(metric)) is not None]
        drawn.append(Line(who, shown, total.value(metric), total.count))
    # The last releases, but the busiest routes and devices.
    if by == "release":
        drawn.sort(key=lambda line: line.points[-1].at if line.points else datetime.min.replace(tzinfo=UTC))
        drawn = drawn[-MOST_LINES:][::-1]
    else:
        drawn = sorted(drawn, key=lambda line: -line.count)[:MOST_LINES]
    return Graph(metric, limit, whole.value(metric), whole.count, drawn)


def _ceil(now: datetime, step: timedelta) -> datetime:
    seconds = step.total_seconds()
    return datetime.fromtimestamp((now.timestamp() // seconds + 1) * seconds, UTC)


def budgets(environment: Environment) -> tuple[Budget, ...]:
    """Those that the stages of the release that came last were given, the later stage's where several have one."""
    last = environment.releases.filter(run__isnull=False).order_by("-id").values_list("run", flat=True).first()
    stages = Stage.objects.filter(run=last, environment=environment.name, kind__in=("verify", "rollout"))
    found: dict[str, Budget] = {}
    for definition in stages.order_by("position").values_list("definition", flat=True):
        for given in _given(definition["with_"]):
            try:
                found |= {budget.metric.name: budget for budget in parse(given)}
            except BudgetError:
                continue  # the stage said so when it was planned
    return tuple(found.values())


def _given(with_: Any) -> Iterator[Any]:
    """Every `budgets` in a stage's `with`: of itself, and of the steps of its strategy."""
    if isinstance(with_, Mapping):
        for key, value in with_.items():
            if key == "budgets":
                yield value
            else:
                yield from _given(value)
    elif isinstance(with_, list):
        for item in with_:
            yield from _given(item)


# --- what one release did -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict that a stage reached about a release: `data` is as the stage's executor told it."""

    stage: str
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Impact:
    """A release beside the one before: `ours` from `came` to `until`, `theirs` in as long a time before, None where it
    is the first. `told` are the verdicts of its run on it."""

    release: Release
    before: Release | None
    came: datetime
    until: datetime
    ours: Reading
    theirs: Reading | None
    told: Sequence[Told] = field(default_factory=tuple)


def impact(release: Release, now: datetime) -> Impact:
    neighbours = release.environment.releases
    before = neighbours.filter(pk__lt=release.pk).exclude(name=release.name).order_by("-id").first()
    after = neighbours.filter(pk__gt=release.pk).exclude(name=release.name).order_by("id").first()
    came = release.rolled_out_at
    until = min(now, came + COMPARED, *([after.rolled_out_at] if after else []))
    first = max(came - COMPARED, before.rolled_out_at) if before else came
    return Impact(
        release=release,
        before=before,
        came=came,
        until=until,
        ours=_reading(release, came, until),
        theirs=_reading(before, first, came) if before else None,
        told=_told(release),
    )


def _reading(release: Release, since: datetime, until: datetime) -> Reading:
    environment = release.environment.name
    # What is kept by the minute counts from the minute in which it began.
    since = since.replace(second=0, microsecond=0)
    sources = [metric.source for metric in METRICS.values() if metric.source]
    sketches = {source: selectors.sketch(environment, release.name, source, since, until) for source in sources}
    return Reading(sketches, selectors.counts(environment, release.name, since, until))


def _told(release: Release) -> tuple[Told, ...]:
    stages = Stage.objects.filter(run=release.run_id, environment=release.environment.name)
    rows = stages.filter(kind__in=("verify", "rollout"), attempts__phase="work", attempts__open=False)
    found: dict[str, list[Told]] = {}
    for stage, kind, data in rows.order_by("position", "attempts__number").values_list(
        "name", "kind", "attempts__data"
    ):
        # Only the last attempt of a stage counts.
        found[stage] = [Told(stage, kind, one) for one in _verdicts(data) if one.get("customers")]
    return tuple(one for told in found.values() for one in told)


def _verdicts(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "numbers" in data:
        return [{"state": data.get("verdict", ""), "customers": data["numbers"].get("customers")}]
    return list(data.get("verdicts") or ())
