"""Observations added up in memory, and written as rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import transaction

from pipelines.performance.models import Level, Measurement
from pipelines.performance.reports import Observation
from pipelines.performance.sketch import Sketch

MOST = 20_000  # series that are held at once
MINUTE = 60.0
BATCH = 500


class Key(NamedTuple):
    start: float
    environment: str
    release: str
    route: str
    device: str
    metric: str


class Cell:
    __slots__ = ("count", "sketch")

    def __init__(self) -> None:
        self.count = 0
        self.sketch: Sketch | None = None

    def add(self, value: float | None, count: int) -> None:
        self.count += count
        if value is not None:
            if self.sketch is None:
                self.sketch = Sketch()
            self.sketch.add(value, count)


class Cells:
    """What came in and is not written yet, by minute and series. Not for several threads at once."""

    def __init__(self) -> None:
        self._cells: dict[Key, Cell] = {}

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, observations: Iterable[Observation], now: float) -> None:
        """Count them for the minute of `now`. Beyond `MOST` series only those that are known already are counted."""
        start = now - now % MINUTE
        for one in observations:
            key = Key(start, one.environment, one.release, one.route, one.device, one.metric)
            cell = self._cells.get(key)
            if cell is None:
                if len(self._cells) >= MOST:
                    self.drop("too_many_series", now, one.count)
                    continue
                cell = self._cells[key] = Cell()
            cell.add(one.value, one.count)

    def drop(self, reason: str, now: float, count: int = 1, environment: str = "") -> None:
        """Count what is not counted, by reason and by the environment where it came to, "" if that is unknown."""
        key = Key(now - now % MINUTE, environment, "", "", "", f"dropped.{reason}")
        self._cells.setdefault(key, Cell()).add(None, count)

    def write(self) -> int:
        """Store and forget all of it, in one transaction; returns the number of rows. What is raised keeps it."""
        rows = [_row(key, cell) for key, cell in self._cells.items()]
        with transaction.atomic():
            Measurement.objects.bulk_create(rows, batch_size=BATCH)
        self._cells.clear()
        return len(rows)


def _row(key: Key, cell: Cell) -> Measurement:
    return Measurement(
        level=Level.PART,
        start=datetime.fromtimestamp(key.start, UTC),
        environment=key.environment,
        release=key.release,
        route=key.route,
        device=key.device,
        metric=key.metric,
        count=cell.count,
        sketch=cell.sketch.to_bytes() if cell.sketch else b"",
    )
