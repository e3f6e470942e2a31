"""A line over time as numbers that a template draws: no colour, no text size, no look at any model.

The plot is a box of `WIDTH` by `HEIGHT` that is stretched to the page's width, so its text stands beside it, by shares
of the width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pipelines.performance.dashboard import Line
from pipelines.performance.metrics import Metric

WIDTH, HEIGHT = 1000, 100
# Nearer than so much of the width, a deployment's name would cover the next one's.
APART = 9.0
MOST_TICKS = 5
_NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Tick:
    """`at` is a share of the plot's width or height in per cent, from the left or from the top."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class TimeTick:
    at: float
    moment: datetime


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the height, from the top, in units of the plot."""

    name: str
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """`path` joins points of steps that follow each other. `number` tells lines apart."""

    number: int
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened. `word` is "" where it would cover the one before; `left` of the line near the right."""

    at: float
    word: str
    left: bool


@dataclass(frozen=True, slots=True)
class Column:
    """What stands at one moment, for whoever points at it."""

    x: float
    width: float
    moment: datetime
    values: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    lines: Sequence[Drawn]
    ticks: Sequence[Tick]
    times: Sequence[TimeTick]
    bands: Sequence[Band]
    marks: Sequence[Mark]
    columns: Sequence[Column]
    limit: float | None = None
    rows: Sequence[tuple[datetime, Sequence[float | None]]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class _Frame:
    since: datetime
    until: datetime
    top: float

    def x(self, moment: datetime) -> float:
        return round(WIDTH * ((moment - self.since) / (self.until - self.since)), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT * (1 - min(value, self.top) / self.top), 2)


def chart(
    metric: Metric,
    lines: Sequence[Line],
    *,
    since: datetime,
    until: datetime,
    step: timedelta,
    limit: float | None = None,
    deploys: Sequence[tuple[datetime, str]] = (),
) -> Chart:
    """The plot of some lines. A point stands in the middle of its step; steps without one break its line."""
    top, ticks = _scale(max([point.value for line in lines for point in line.points], default=0.0), limit)
    frame = _Frame(since, until, top)
    rows = _rows(lines)
    return Chart(
        lines=[Drawn(number, line.name, _path(line, frame, step)) for number, line in enumerate(lines)],
        ticks=[Tick(frame.y(value), value) for value in ticks],
        times=times(since, until),
        bands=_bands(metric, frame),
        marks=_marks(deploys, frame),
        columns=[
            Column(
                frame.x(at),
                round(WIDTH * (step / (until - since)), 2),
                at,
                [(line.name, value) for line, value in zip(lines, values, strict=True) if value is not None],
            )
            for at, values in rows
        ],
        limit=frame.y(limit) if limit is not None and limit <= top else None,
        rows=rows[::-1],
    )


def _scale(most: float, limit: float | None) -> tuple[float, list[float]]:
    """(the value at the top, those that lines are drawn at). A limit that is not far above belongs into the plot."""
    wanted = max(most, limit) if limit is not None and limit <= 2 * most else most
    if wanted < 1e-9:
        return 1.0, []
    rough = wanted * 1.1 / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(nice * power for nice in _NICE if nice * power >= rough * 0.999)
    count = math.ceil(wanted * 1.05 / size)
    return count * size, [round(size * number, 9) for number in range(1, count + 1)]


def _path(line: Line, frame: _Frame, step: timedelta) -> str:
    parts: list[str] = []
    before: datetime | None = None
    for point in line.points:
        place = f"{frame.x(point.at + step / 2):g} {frame.y(point.value):g}"
        # A line of no length is a dot: one that stands alone would not be seen.
        parts.append(f"L{place}" if before is not None and point.at - before <= step else f"M{place}h0")
        before = point.at
    return "".join(parts)


def _rows(lines: Sequence[Line]) -> list[tuple[datetime, list[float | None]]]:
    found: dict[datetime, list[float | None]] = {}
    for number, line in enumerate(lines):
        for point in line.points:
            found.setdefault(point.at, [None] * len(lines))[number] = point.value
    return sorted(found.items())


def times(since: datetime, until: datetime) -> list[TimeTick]:
    """What stands below an axis from one moment to another."""
    return [TimeTick(100 * part / 4, since + (until - since) * part / 4) for part in range(4)]


def _bands(metric: Metric, frame: _Frame) -> list[Band]:
    if metric.good is None or metric.poor is None:
        return []
    edges = [("good", 0.0, metric.good), ("needs work", metric.good, metric.poor), ("poor", metric.poor, math.inf)]
    return [
        Band(name, frame.y(high), round(frame.y(low) - frame.y(high), 2))
        for name, low, high in edges
        if low < frame.top
    ]


def _marks(deploys: Sequence[tuple[datetime, str]], frame: _Frame) -> list[Mark]:
    found: list[Mark] = []
    named = -math.inf
    for moment, word in deploys:
        if not frame.since <= moment <= frame.until:
            continue
        at = frame.x(moment) * 100 / WIDTH
        free = at - named >= APART
        named = at if free else named
        found.append(Mark(round(at, 2), word if free else "", at > 100 - APART))
    return found
