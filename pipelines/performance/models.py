"""What is kept of measurements: counts and sketches, never a single view, and nothing that tells who it was."""

from __future__ import annotations

from django.db import models


class Level(models.IntegerChoices):
    """How long a row's period is. Parts are what one flush of one process saw of a minute."""

    PART = 0
    MINUTE = 1
    HOUR = 2
    DAY = 3


class Measurement(models.Model):
    """One metric of one release, route and device class in one period, which begins at `start`.

    There may be several rows of the same: readers add them up, `rollup` makes one of them. `sketch` is empty for a
    metric that is only counted. `route` and `device` are "" where the metric has none, `release` for reports that were
    dropped, and `environment` for those that did not come through a server which is believed.
    """

    level = models.PositiveSmallIntegerField(choices=Level.choices, default=Level.PART)
    start = models.DateTimeField()
    environment = models.CharField(max_length=63, blank=True)
    release = models.CharField(max_length=120, blank=True)
    route = models.CharField(max_length=64, blank=True)
    device = models.CharField(max_length=10, blank=True)
    metric = models.CharField(max_length=32)
    count = models.PositiveBigIntegerField()
    sketch = models.BinaryField(default=bytes)

    class Meta:
        ordering = ["start", "id"]
        indexes = [
            models.Index(fields=["environment", "metric", "start"], name="measurement_read"),
            models.Index(fields=["level", "start"], name="measurement_fold"),
        ]

    def __str__(self) -> str:
        return f"{self.environment}/{self.release} {self.metric} {self.start:%F %R}: {self.count}"
