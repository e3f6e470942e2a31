"""An environment that people visited: rows as agents would have left them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from pipelines.models import Environment, Release
from pipelines.performance.models import Level, Measurement
from pipelines.performance.sketch import Sketch

MEDIANS = {"LCP": 1400.0, "INP": 90.0, "FCP": 900.0, "TTFB": 300.0, "CLS": 0.02}
ROUTES = ("menu", "checkout")
DEVICES = ("phone", "desktop")


def visited(
    environment: str,
    release: str,
    since: datetime,
    until: datetime,
    *,
    step: timedelta = timedelta(minutes=10),
    slower: float = 1.0,
    views: int = 20,
    errors: int = 0,
    orders: int = 2,
    seed: int = 1,
) -> None:
    """`views` page views in each step of each route and device, with times `slower` times as long as usual."""
    rng, rows, start = random.Random(seed), [], since
    while start < until:
        for route in ROUTES:
            for device in DEVICES:
                factor = slower * (1.4 if device == "phone" else 1.0)
                for metric, median in MEDIANS.items():
                    values = [median * factor * rng.lognormvariate(0, 0.4) for _ in range(views)]
                    rows.append(_row(environment, release, start, metric, len(values), route, device, Sketch(values)))
            times = Sketch(40 * slower * rng.lognormvariate(0, 0.5) for _ in range(views * 5))
            rows.append(_row(environment, release, start, "duration", times.count, route, sketch=times))
            counted = {"status.2xx": views * 5 - errors, "status.5xx": errors, "sessions": views, "orders": orders}
            rows += [_row(environment, release, start, name, count, route) for name, count in counted.items() if count]
        start += step
    Measurement.objects.bulk_create(rows)


def probed(
    environment: str, release: str, since: datetime, until: datetime, *, step: timedelta, path: str = "/", bad: int = 0
) -> None:
    """One look each step, with a browser and without; the first `bad` of them fail."""
    rows, start, left = [], since, bad
    while start < until:
        for device, good in (("", {"http": 20.0}), ("desktop", {"LCP": 300.0, "TTFB": 30.0, "CLS": 0.0})):
            found = {"failed": None} if left > 0 else good
            for name, value in found.items():
                sketch = None if value is None else Sketch([value])
                rows.append(_row(environment, release, start, f"probe.{name}", 1, path, device, sketch))
        start, left = start + step, left - 1
    Measurement.objects.bulk_create(rows)


def dropped(environment: str, reason: str, count: int, at: datetime) -> None:
    Measurement.objects.bulk_create([_row(environment, "", at, f"dropped.{reason}", count, "")])


def _row(
    environment: str, release: str, start: datetime, metric: str, count: int, route: str, device: str = "",
    sketch: Sketch | None = None,
) -> Measurement:  # fmt: skip
    return Measurement(
        level=Level.MINUTE, start=start, environment=environment, release=release, route=route, device=device,
        metric=metric, count=count, sketch=sketch.to_bytes() if sketch else b"",
    )  # fmt: skip


def released(environment: Environment, name: str, at: datetime, run: Any = None) -> Release:
    row = Release.objects.create(environment=environment, name=name, run=run, commit="c" * 40)
    Release.objects.filter(pk=row.pk).update(rolled_out_at=at)
    return row
