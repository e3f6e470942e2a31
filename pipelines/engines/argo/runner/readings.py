"""What was measured of a release, on its way from the portal to the pod that judges it. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.performance.sketch import Sketch
from pipelines.performance.verdict import Reading

COUNTED = ("requests", "errors", "sessions", "orders")


@dataclass(frozen=True, slots=True)
class Counts:
    requests: int
    errors: int
    sessions: int
    orders: int


def as_json(reading: Reading) -> dict[str, Any]:
    sketches = {name: base64.b64encode(sketch.to_bytes()).decode() for name, sketch in reading.sketches.items()}
    counts = reading.counts
    return {"sketches": sketches, "counts": counts and {name: getattr(counts, name) for name in COUNTED}}


def of_json(data: Mapping[str, Any]) -> Reading:
    """Raises KeyError, TypeError, ValueError for what `as_json` did not make."""
    sketches = {name: Sketch.from_bytes(base64.b64decode(text)) for name, text in data["sketches"].items()}
    counts = data["counts"]
    return Reading(sketches, counts and Counts(**{name: int(counts[name]) for name in COUNTED}))
